BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY, "migration_set" TEXT, "name" TEXT, "applied_at" TEXT);
INSERT INTO "_sqlite_migrations" VALUES(1,'wfe','0001_tables','2026-11-21 15:44:28.161+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'wfe','0002_whole_engine','2026-11-21 15:44:28.162+00:00');
CREATE TABLE wfe_activities (
    a INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, pointer INTEGER NOT NULL,
    attempt INTEGER NOT NULL, name TEXT NOT NULL, parameters TEXT NOT NULL, token TEXT UNIQUE,
    worker TEXT, lease_until INTEGER, progress TEXT, UNIQUE (instance, pointer));
CREATE TABLE wfe_definitions (
    d INTEGER PRIMARY KEY, id TEXT NOT NULL, version INTEGER NOT NULL, hash TEXT NOT NULL,
    body TEXT NOT NULL, current INTEGER NOT NULL, UNIQUE (id, version, hash));
INSERT INTO "wfe_definitions" VALUES(1,'child',1,'a5158530f7bd5e077c22833aee4c82960815e5b47981cc37963e71fa74bf8444','{"format":1,"id":"child","meta":{"inputs":{"n":{"required":true,"type":"integer"}},"outputs":{"double":"integer"},"records":true,"source":"/tmp/pipelines/old.yaml"},"root":{"nodes":[{"config":{"type":"shell"},"inputs":[["script",{"v":"echo \"double=$((N * 2))\" >> \"$WFE_OUTPUT\""}],["env",{"map":[["N",{"cel":"inputs.n"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"calc"}],["shell",{"v":null}],["outputs",{"v":{"double":"integer"}}]],"kind":"step","name":"calc"},{"config":{"field":"outputs"},"exprs":[["double",{"cel":"data.double"}]],"kind":"set","name":"outputs"}]},"version":1}',1);
INSERT INTO "wfe_definitions" VALUES(2,'flow',1,'f487e9a618e15864da21406a826aa151929f42e0797b7e6197fc5df6e6d45002','{"format":1,"id":"flow","meta":{"inputs":{"mode":{"default":"x","required":false,"type":"string"}},"outputs":{"all":"any"},"records":true,"source":"/tmp/pipelines/old.yaml"},"root":{"nodes":[{"config":{"type":"shell"},"inputs":[["script",{"v":"echo \"a=1\" >> \"$WFE_OUTPUT\"; echo first >> log"}],["env",{"map":[["MODE",{"cel":"inputs.mode"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"first"}],["shell",{"v":null}],["outputs",{"v":{"a":"integer"}}]],"kind":"step","name":"first","on_error":{"backoff":["exponential",1.0],"do":"retry","interval":1000000,"jitter":0.0,"max_interval":null,"max_retries":2,"then":"fail"}},{"blocks":[{"nodes":[{"config":{"type":"shell"},"inputs":[["script",{"v":"echo \"v=${WFE_EXPR_1}\" >> \"$WFE_OUTPUT\"; echo each >> log"}],["env",{"map":[["MODE",{"cel":"inputs.mode"}],["WFE_EXPR_1",{"cel":"item"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"each"}],["shell",{"v":null}],["outputs",{"v":{"v":"string"}}]],"kind":"step","name":"each"},{"config":{"event":"go"},"exprs":[["key",{"v":"loop"}]],"kind":"wait_for","name":"hold","run_if":{"cel":"inputs.mode == ''loop''"}}]}],"config":{"as":"item","fail_fast":true,"limit":null,"sequential":false},"exprs":[["items",{"v":["x","y"]}]],"kind":"for_each","name":"loop"},{"blocks":[{"nodes":[{"config":{"type":"shell"},"inputs":[["script",{"v":"echo left >> log"}],["env",{"map":[["MODE",{"cel":"inputs.mode"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"left"}],["shell",{"v":null}],["outputs",{"v":{}}]],"kind":"step","name":"left"}]},{"nodes":[{"blocks":[{"nodes":[{"config":{"type":"shell"},"inputs":[["script",{"v":"echo right >> log"}],["env",{"map":[["MODE",{"cel":"inputs.mode"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"right"}],["shell",{"v":null}],["outputs",{"v":{}}]],"kind":"step","name":"right"},{"config":{"event":"go","output":"x"},"exprs":[["key",{"v":"parallel"}]],"kind":"wait_for","name":"hold2","run_if":{"cel":"inputs.mode == ''parallel''"}}]}],"kind":"sequence","name":"do"}]}],"config":{"fail_fast":true,"join":"all","limit":null},"kind":"parallel","name":"both"},{"config":{"definition":"child","flatten":true,"output":"steps.kid","select":"outputs","version":1,"wrap":"outputs"},"exprs":[["data",{"map":[["inputs",{"map":[["n",{"v":21}]]}]]}]],"kind":"sub_workflow","name":"kid"},{"config":{"type":"shell"},"inputs":[["script",{"v":"test -e repaired"}],["env",{"map":[["MODE",{"cel":"inputs.mode"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"fragile"}],["shell",{"v":null}],["outputs",{"v":{}}]],"kind":"step","name":"fragile","on_error":{"do":"continue"}},{"config":{"type":"shell"},"inputs":[["script",{"v":"echo stuck >> log; test -e repaired"}],["env",{"map":[["MODE",{"cel":"inputs.mode"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"stuck"}],["shell",{"v":null}],["outputs",{"v":{}}]],"kind":"step","name":"stuck","on_error":{"backoff":["exponential",1.0],"do":"retry","interval":1000,"jitter":0.0,"max_interval":null,"max_retries":0,"then":"suspend"},"run_if":{"cel":"inputs.mode == ''suspend''"}},{"exprs":[["duration",{"v":3000000}]],"kind":"delay","name":"hold3","run_if":{"cel":"inputs.mode == ''end''"}},{"config":{"type":"shell"},"inputs":[["script",{"v":"echo \"text=${WFE_EXPR_1}-${WFE_EXPR_2}-${WFE_EXPR_3}\" >> \"$WFE_OUTPUT\"; echo tell >> log"}],["env",{"map":[["MODE",{"cel":"inputs.mode"}],["WFE_EXPR_1",{"cel":"steps.first.outputs.a"}],["WFE_EXPR_2",{"cel":"steps.?each.?outputs.v.orValue(\"\")"}],["WFE_EXPR_3",{"cel":"steps.kid.outputs.double"}]]}],["env_from_host",{"v":[]}],["working_dir",{"v":null}],["key",{"v":"tell"}],["shell",{"v":null}],["outputs",{"v":{"text":"string"}}]],"kind":"step","name":"tell"},{"config":{"field":"outputs"},"exprs":[["all",{"cel":"steps.tell.outputs.text"}]],"kind":"set","name":"outputs"}]},"timeout":3600000000,"version":1}',1);
CREATE TABLE wfe_events (
    e INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    key TEXT NOT NULL, at INTEGER NOT NULL, payload TEXT NOT NULL, expires INTEGER);
CREATE TABLE wfe_holders (
    key TEXT NOT NULL, instance INTEGER NOT NULL, pointer INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (key, instance, pointer)) WITHOUT ROWID;
CREATE TABLE wfe_inbox (
    i INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, kind TEXT NOT NULL,
    dedupe TEXT, at INTEGER NOT NULL, actor TEXT, reason TEXT, payload TEXT NOT NULL);
CREATE TABLE wfe_instances (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, d INTEGER NOT NULL,
    definition TEXT NOT NULL, version INTEGER NOT NULL, name TEXT UNIQUE, reference TEXT,
    status TEXT NOT NULL, wake INTEGER, owner INTEGER, poke INTEGER NOT NULL DEFAULT 0,
    takeovers INTEGER NOT NULL DEFAULT 0, faults INTEGER NOT NULL DEFAULT 0,
    parent INTEGER, parent_pointer INTEGER, parent_id TEXT, root_id TEXT NOT NULL, idem TEXT,
    error TEXT, created_at INTEGER NOT NULL, completed_at INTEGER, retain_until INTEGER, priority INTEGER NOT NULL DEFAULT 0, dedup TEXT);
INSERT INTO "wfe_instances" VALUES(1,'01a1fec7-c823-7633-9696-cbedacbd0d0a',2,'flow',1,'loop',NULL,'runnable',1795279468195732,NULL,0,0,0,NULL,NULL,NULL,'01a1fec7-c823-7633-9696-cbedacbd0d0a',NULL,NULL,1795275868195732,NULL,NULL,0,NULL);
INSERT INTO "wfe_instances" VALUES(2,'01a1fec7-c828-718f-8081-0836c8a81bf9',2,'flow',1,'parallel',NULL,'runnable',1795279468202228,NULL,0,0,0,NULL,NULL,NULL,'01a1fec7-c828-718f-8081-0836c8a81bf9',NULL,NULL,1795275868202228,NULL,NULL,0,NULL);
INSERT INTO "wfe_instances" VALUES(3,'01a1fec7-c82c-7d80-ba96-4138f54a8592',2,'flow',1,'suspend',NULL,'suspended',NULL,NULL,1,0,0,NULL,NULL,NULL,'01a1fec7-c82c-7d80-ba96-4138f54a8592',NULL,'{"type":"ShellCommandError","message":"the command exited with code 1","step":"stuck"}',1795275868224664,NULL,NULL,0,NULL);
INSERT INTO "wfe_instances" VALUES(4,'01a1fec7-c843-7406-a763-d5f202875afa',2,'flow',1,'end',NULL,'runnable',1795275871477132,NULL,1,0,0,NULL,NULL,NULL,'01a1fec7-c843-7406-a763-d5f202875afa',NULL,NULL,1795275868231844,NULL,NULL,0,NULL);
INSERT INTO "wfe_instances" VALUES(5,'01a1fec7-c84b-74ca-af65-d85cc54c2fd0',2,'flow',1,'none',NULL,'complete',NULL,NULL,1,0,0,NULL,NULL,NULL,'01a1fec7-c84b-74ca-af65-d85cc54c2fd0',NULL,NULL,1795275868244012,1795275868496169,1797867868496049,0,NULL);
INSERT INTO "wfe_instances" VALUES(6,'01a1fec7-c8ec-7cc1-93af-820f71ce6146',1,'child',1,NULL,NULL,'complete',NULL,NULL,0,0,0,3,12,'01a1fec7-c82c-7d80-ba96-4138f54a8592','01a1fec7-c82c-7d80-ba96-4138f54a8592','child:3:12:0',NULL,1795275868396891,1795275868440632,NULL,0,NULL);
INSERT INTO "wfe_instances" VALUES(7,'01a1fec7-c8ec-79a8-b6d2-5fa22452a32e',1,'child',1,NULL,NULL,'complete',NULL,NULL,0,0,0,4,12,'01a1fec7-c843-7406-a763-d5f202875afa','01a1fec7-c843-7406-a763-d5f202875afa','child:4:12:0',NULL,1795275868396891,1795275868440632,NULL,0,NULL);
INSERT INTO "wfe_instances" VALUES(8,'01a1fec7-c8ed-7183-983a-edf908a9f1cc',1,'child',1,NULL,NULL,'complete',NULL,NULL,0,0,0,5,12,'01a1fec7-c84b-74ca-af65-d85cc54c2fd0','01a1fec7-c84b-74ca-af65-d85cc54c2fd0','child:5:12:0',NULL,1795275868397874,1795275868440632,NULL,0,NULL);
CREATE TABLE wfe_journal (
    instance INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, event TEXT NOT NULL);
INSERT INTO "wfe_journal" VALUES(1,0,1795275868195732,'[1,"workflow_started",null,null,null,{},[["s",{"inputs":{"mode":"loop"}}],["p",1,"first",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(2,0,1795275868202228,'[1,"workflow_started",null,null,null,{},[["s",{"inputs":{"mode":"parallel"}}],["p",1,"first",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(3,0,1795275868224664,'[1,"workflow_started",null,null,null,{},[["s",{"inputs":{"mode":"suspend"}}],["p",1,"first",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,0,1795275868231844,'[1,"workflow_started",null,null,null,{},[["s",{"inputs":{"mode":"end"}}],["p",1,"first",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,0,1795275868244012,'[1,"workflow_started",null,null,null,{},[["s",{"inputs":{"mode":"none"}}],["p",1,"first",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(1,1,1795275868251942,'[1,"step_completed",1,"first",0,{"started":1795275868200463},[["s",{"a":1,"steps.first":{"outputs":{"a":1},"status":"complete"}}],["d",1],["p",2,"loop",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(2,1,1795275868251942,'[1,"step_completed",1,"first",0,{"started":1795275868205081},[["s",{"a":1,"steps.first":{"outputs":{"a":1},"status":"complete"}}],["d",1],["p",2,"loop",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(3,1,1795275868268085,'[1,"step_completed",1,"first",0,{"started":1795275868228241},[["s",{"a":1,"steps.first":{"outputs":{"a":1},"status":"complete"}}],["d",1],["p",2,"loop",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,1,1795275868268085,'[1,"step_completed",1,"first",0,{"started":1795275868236401},[["s",{"a":1,"steps.first":{"outputs":{"a":1},"status":"complete"}}],["d",1],["p",2,"loop",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(1,2,1795275868269671,'[1,"step_branched",2,"loop",0,null,[["t",2,"running",0,null],["e",2,{"items":["x","y"]}],["e",2,{"live":2,"next":2}],["p",3,"each",2,"pending",0,null,{"index":0}],["p",4,"each",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(2,2,1795275868269671,'[1,"step_branched",2,"loop",0,null,[["t",2,"running",0,null],["e",2,{"items":["x","y"]}],["e",2,{"live":2,"next":2}],["p",3,"each",2,"pending",0,null,{"index":0}],["p",4,"each",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(5,1,1795275868269671,'[1,"step_completed",1,"first",0,{"started":1795275868252909},[["s",{"a":1,"steps.first":{"outputs":{"a":1},"status":"complete"}}],["d",1],["p",2,"loop",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(3,2,1795275868270717,'[1,"step_branched",2,"loop",0,null,[["t",2,"running",0,null],["e",2,{"items":["x","y"]}],["e",2,{"live":2,"next":2}],["p",3,"each",2,"pending",0,null,{"index":0}],["p",4,"each",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(4,2,1795275868270717,'[1,"step_branched",2,"loop",0,null,[["t",2,"running",0,null],["e",2,{"items":["x","y"]}],["e",2,{"live":2,"next":2}],["p",3,"each",2,"pending",0,null,{"index":0}],["p",4,"each",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(5,2,1795275868293276,'[1,"step_branched",2,"loop",0,null,[["t",2,"running",0,null],["e",2,{"items":["x","y"]}],["e",2,{"live":2,"next":2}],["p",3,"each",2,"pending",0,null,{"index":0}],["p",4,"each",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(1,3,1795275868325047,'[1,"step_completed",3,"each",0,{"started":1795275868270315},[["s",{"v":"x","steps.each[0]":{"outputs":{"v":"x"},"status":"complete"}}],["d",3],["p",5,"hold",2,"pending",0,null,{"index":0}]]]');
INSERT INTO "wfe_journal" VALUES(1,4,1795275868325047,'[1,"step_completed",4,"each",0,{"started":1795275868287601},[["s",{"v":"y","steps.each[1]":{"outputs":{"v":"y"},"status":"complete"}}]]]');
INSERT INTO "wfe_journal" VALUES(1,5,1795275868325047,'[1,"data_conflict",4,"each",0,{"fields":["v"]},[["d",4],["p",6,"hold",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(2,3,1795275868325047,'[1,"step_completed",3,"each",0,{"started":1795275868289233},[["s",{"v":"x","steps.each[0]":{"outputs":{"v":"x"},"status":"complete"}}],["d",3],["p",5,"hold",2,"pending",0,null,{"index":0}]]]');
INSERT INTO "wfe_journal" VALUES(2,4,1795275868325047,'[1,"step_completed",4,"each",0,{"started":1795275868290358},[["s",{"v":"y","steps.each[1]":{"outputs":{"v":"y"},"status":"complete"}}]]]');
INSERT INTO "wfe_journal" VALUES(2,5,1795275868325047,'[1,"data_conflict",4,"each",0,{"fields":["v"]},[["d",4],["p",6,"hold",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(3,3,1795275868344106,'[1,"step_completed",3,"each",0,{"started":1795275868293560},[["s",{"v":"x","steps.each[0]":{"outputs":{"v":"x"},"status":"complete"}}],["d",3],["p",5,"hold",2,"pending",0,null,{"index":0}]]]');
INSERT INTO "wfe_journal" VALUES(3,4,1795275868344106,'[1,"step_completed",4,"each",0,{"started":1795275868303777},[["s",{"v":"y","steps.each[1]":{"outputs":{"v":"y"},"status":"complete"}}]]]');
INSERT INTO "wfe_journal" VALUES(3,5,1795275868344106,'[1,"data_conflict",4,"each",0,{"fields":["v"]},[["d",4],["p",6,"hold",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(4,3,1795275868344106,'[1,"step_completed",3,"each",0,{"started":1795275868306581},[["s",{"v":"x","steps.each[0]":{"outputs":{"v":"x"},"status":"complete"}}],["d",3],["p",5,"hold",2,"pending",0,null,{"index":0}]]]');
INSERT INTO "wfe_journal" VALUES(4,4,1795275868344106,'[1,"step_completed",4,"each",0,{"started":1795275868311530},[["s",{"v":"y","steps.each[1]":{"outputs":{"v":"y"},"status":"complete"}}]]]');
INSERT INTO "wfe_journal" VALUES(4,5,1795275868344106,'[1,"data_conflict",4,"each",0,{"fields":["v"]},[["d",4],["p",6,"hold",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(2,6,1795275868352021,'[1,"step_skipped",5,"hold",0,null,[["d",5],["e",2,{"live":1}],["x",["steps.each[0]"]]]]');
INSERT INTO "wfe_journal" VALUES(2,7,1795275868352021,'[1,"step_skipped",6,"hold",0,null,[["d",6],["e",2,{"live":0}],["d",2],["p",7,"both",null,"running",0,null,0],["e",7,{"live":2,"next":2}],["p",8,"left",7,"pending",0,null,{"index":0}],["p",9,"do",7,"running",0,null,{"index":1}],["e",9,{"live":1}],["p",10,"right",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,3,1795275868352021,'[1,"step_completed",3,"each",0,{"started":1795275868316311},[["s",{"v":"x","steps.each[0]":{"outputs":{"v":"x"},"status":"complete"}}],["d",3],["p",5,"hold",2,"pending",0,null,{"index":0}]]]');
INSERT INTO "wfe_journal" VALUES(5,4,1795275868352021,'[1,"step_completed",4,"each",0,{"started":1795275868318644},[["s",{"v":"y","steps.each[1]":{"outputs":{"v":"y"},"status":"complete"}}]]]');
INSERT INTO "wfe_journal" VALUES(5,5,1795275868352021,'[1,"data_conflict",4,"each",0,{"fields":["v"]},[["d",4],["p",6,"hold",2,"pending",0,null,{"index":1}]]]');
INSERT INTO "wfe_journal" VALUES(1,6,1795275868352021,'[1,"step_waiting",5,"hold",0,{"event":"go","key":"loop"},[["e",5,{"wait":["go","loop"],"event":null}],["t",5,"waiting_for_event",0,null]]]');
INSERT INTO "wfe_journal" VALUES(1,7,1795275868352021,'[1,"step_waiting",6,"hold",0,{"event":"go","key":"loop"},[["e",6,{"wait":["go","loop"],"event":null}],["t",6,"waiting_for_event",0,null]]]');
INSERT INTO "wfe_journal" VALUES(3,6,1795275868354084,'[1,"step_skipped",5,"hold",0,null,[["d",5],["e",2,{"live":1}],["x",["steps.each[0]"]]]]');
INSERT INTO "wfe_journal" VALUES(3,7,1795275868354084,'[1,"step_skipped",6,"hold",0,null,[["d",6],["e",2,{"live":0}],["d",2],["p",7,"both",null,"running",0,null,0],["e",7,{"live":2,"next":2}],["p",8,"left",7,"pending",0,null,{"index":0}],["p",9,"do",7,"running",0,null,{"index":1}],["e",9,{"live":1}],["p",10,"right",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,6,1795275868354084,'[1,"step_skipped",5,"hold",0,null,[["d",5],["e",2,{"live":1}],["x",["steps.each[0]"]]]]');
INSERT INTO "wfe_journal" VALUES(4,7,1795275868354084,'[1,"step_skipped",6,"hold",0,null,[["d",6],["e",2,{"live":0}],["d",2],["p",7,"both",null,"running",0,null,0],["e",7,{"live":2,"next":2}],["p",8,"left",7,"pending",0,null,{"index":0}],["p",9,"do",7,"running",0,null,{"index":1}],["e",9,{"live":1}],["p",10,"right",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,6,1795275868368735,'[1,"step_skipped",5,"hold",0,null,[["d",5],["e",2,{"live":1}],["x",["steps.each[0]"]]]]');
INSERT INTO "wfe_journal" VALUES(5,7,1795275868368735,'[1,"step_skipped",6,"hold",0,null,[["d",6],["e",2,{"live":0}],["d",2],["p",7,"both",null,"running",0,null,0],["e",7,{"live":2,"next":2}],["p",8,"left",7,"pending",0,null,{"index":0}],["p",9,"do",7,"running",0,null,{"index":1}],["e",9,{"live":1}],["p",10,"right",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(2,8,1795275868388980,'[1,"step_completed",8,"left",0,{"started":1795275868353275},[["s",{"steps.left":{"outputs":{},"status":"complete"}}],["d",8],["e",7,{"live":1}],["e",7,{"done":1}]]]');
INSERT INTO "wfe_journal" VALUES(2,9,1795275868388980,'[1,"step_completed",10,"right",0,{"started":1795275868365261},[["s",{"steps.right":{"outputs":{},"status":"complete"}}],["d",10],["p",11,"hold2",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(3,8,1795275868390666,'[1,"step_completed",8,"left",0,{"started":1795275868368491},[["s",{"steps.left":{"outputs":{},"status":"complete"}}],["d",8],["e",7,{"live":1}],["e",7,{"done":1}]]]');
INSERT INTO "wfe_journal" VALUES(3,9,1795275868390666,'[1,"step_completed",10,"right",0,{"started":1795275868369489},[["s",{"steps.right":{"outputs":{},"status":"complete"}}],["d",10],["p",11,"hold2",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,8,1795275868390666,'[1,"step_completed",8,"left",0,{"started":1795275868370812},[["s",{"steps.left":{"outputs":{},"status":"complete"}}],["d",8],["e",7,{"live":1}],["e",7,{"done":1}]]]');
INSERT INTO "wfe_journal" VALUES(4,9,1795275868390666,'[1,"step_completed",10,"right",0,{"started":1795275868379707},[["s",{"steps.right":{"outputs":{},"status":"complete"}}],["d",10],["p",11,"hold2",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,8,1795275868391857,'[1,"step_completed",8,"left",0,{"started":1795275868382566},[["s",{"steps.left":{"outputs":{},"status":"complete"}}],["d",8],["e",7,{"live":1}],["e",7,{"done":1}]]]');
INSERT INTO "wfe_journal" VALUES(5,9,1795275868391857,'[1,"step_completed",10,"right",0,{"started":1795275868385280},[["s",{"steps.right":{"outputs":{},"status":"complete"}}],["d",10],["p",11,"hold2",9,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(2,10,1795275868391857,'[1,"step_waiting",11,"hold2",0,{"event":"go","key":"parallel"},[["e",11,{"wait":["go","parallel"],"event":null}],["t",11,"waiting_for_event",0,null]]]');
INSERT INTO "wfe_journal" VALUES(3,10,1795275868395323,'[1,"step_skipped",11,"hold2",0,null,[["d",11],["e",9,{"live":0}],["d",9],["e",7,{"live":0}],["e",7,{"done":2}],["d",7],["p",12,"kid",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,10,1795275868395323,'[1,"step_skipped",11,"hold2",0,null,[["d",11],["e",9,{"live":0}],["d",9],["e",7,{"live":0}],["e",7,{"done":2}],["d",7],["p",12,"kid",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,10,1795275868396080,'[1,"step_skipped",11,"hold2",0,null,[["d",11],["e",9,{"live":0}],["d",9],["e",7,{"live":0}],["e",7,{"done":2}],["d",7],["p",12,"kid",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(3,11,1795275868396891,'[1,"step_waiting",12,"kid",0,{"child":"01a1fec7-c8ec-7cc1-93af-820f71ce6146"},[["e",12,{"child":6,"child_id":"01a1fec7-c8ec-7cc1-93af-820f71ce6146"}],["t",12,"waiting_for_event",0,null]]]');
INSERT INTO "wfe_journal" VALUES(6,0,1795275868396891,'[1,"workflow_started",null,null,null,{"parent":"01a1fec7-c82c-7d80-ba96-4138f54a8592"},[["s",{"inputs":{"n":21}}],["p",1,"calc",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,11,1795275868396891,'[1,"step_waiting",12,"kid",0,{"child":"01a1fec7-c8ec-79a8-b6d2-5fa22452a32e"},[["e",12,{"child":7,"child_id":"01a1fec7-c8ec-79a8-b6d2-5fa22452a32e"}],["t",12,"waiting_for_event",0,null]]]');
INSERT INTO "wfe_journal" VALUES(7,0,1795275868396891,'[1,"workflow_started",null,null,null,{"parent":"01a1fec7-c843-7406-a763-d5f202875afa"},[["s",{"inputs":{"n":21}}],["p",1,"calc",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,11,1795275868397874,'[1,"step_waiting",12,"kid",0,{"child":"01a1fec7-c8ed-7183-983a-edf908a9f1cc"},[["e",12,{"child":8,"child_id":"01a1fec7-c8ed-7183-983a-edf908a9f1cc"}],["t",12,"waiting_for_event",0,null]]]');
INSERT INTO "wfe_journal" VALUES(8,0,1795275868397874,'[1,"workflow_started",null,null,null,{"parent":"01a1fec7-c84b-74ca-af65-d85cc54c2fd0"},[["s",{"inputs":{"n":21}}],["p",1,"calc",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(6,1,1795275868427896,'[1,"step_completed",1,"calc",0,{"started":1795275868400020},[["s",{"double":42,"steps.calc":{"outputs":{"double":42},"status":"complete"}}],["d",1],["p",2,"outputs",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(7,1,1795275868427896,'[1,"step_completed",1,"calc",0,{"started":1795275868411176},[["s",{"double":42,"steps.calc":{"outputs":{"double":42},"status":"complete"}}],["d",1],["p",2,"outputs",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(8,1,1795275868427896,'[1,"step_completed",1,"calc",0,{"started":1795275868421283},[["s",{"double":42,"steps.calc":{"outputs":{"double":42},"status":"complete"}}],["d",1],["p",2,"outputs",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(6,2,1795275868440632,'[1,"step_completed",2,"outputs",0,null,[["s",{"outputs":{"double":42}}],["d",2]]]');
INSERT INTO "wfe_journal" VALUES(6,3,1795275868440632,'[1,"workflow_completed",null,null,null,null,[["c"],["i","complete",null]]]');
INSERT INTO "wfe_journal" VALUES(7,2,1795275868440632,'[1,"step_completed",2,"outputs",0,null,[["s",{"outputs":{"double":42}}],["d",2]]]');
INSERT INTO "wfe_journal" VALUES(7,3,1795275868440632,'[1,"workflow_completed",null,null,null,null,[["c"],["i","complete",null]]]');
INSERT INTO "wfe_journal" VALUES(8,2,1795275868440632,'[1,"step_completed",2,"outputs",0,null,[["s",{"outputs":{"double":42}}],["d",2]]]');
INSERT INTO "wfe_journal" VALUES(8,3,1795275868440632,'[1,"workflow_completed",null,null,null,null,[["c"],["i","complete",null]]]');
INSERT INTO "wfe_journal" VALUES(3,12,1795275868452665,'[1,"step_completed",12,"kid",0,{"child":"01a1fec7-c8ec-7cc1-93af-820f71ce6146"},[["e",12,{"child":null,"abandon":null}],["s",{"double":42}],["s",{"steps.kid":{"outputs":{"double":42}}}],["d",12],["p",13,"fragile",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,12,1795275868452665,'[1,"step_completed",12,"kid",0,{"child":"01a1fec7-c8ec-79a8-b6d2-5fa22452a32e"},[["e",12,{"child":null,"abandon":null}],["s",{"double":42}],["s",{"steps.kid":{"outputs":{"double":42}}}],["d",12],["p",13,"fragile",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,12,1795275868452665,'[1,"step_completed",12,"kid",0,{"child":"01a1fec7-c8ed-7183-983a-edf908a9f1cc"},[["e",12,{"child":null,"abandon":null}],["s",{"double":42}],["s",{"steps.kid":{"outputs":{"double":42}}}],["d",12],["p",13,"fragile",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(3,13,1795275868463837,'[1,"step_failed",13,"fragile",0,{"error":{"type":"ShellCommandError","message":"the command exited with code 1","step":"fragile","at":12,"by":13},"started":1795275868453323},[["d",13],["p",14,"stuck",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,13,1795275868463837,'[1,"step_failed",13,"fragile",0,{"error":{"type":"ShellCommandError","message":"the command exited with code 1","step":"fragile","at":12,"by":13},"started":1795275868454537},[["d",13],["p",14,"stuck",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,13,1795275868473165,'[1,"step_failed",13,"fragile",0,{"error":{"type":"ShellCommandError","message":"the command exited with code 1","step":"fragile","at":12,"by":13},"started":1795275868457481},[["d",13],["p",14,"stuck",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,14,1795275868475836,'[1,"step_skipped",14,"stuck",0,null,[["d",14],["p",15,"hold3",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,14,1795275868476564,'[1,"step_skipped",14,"stuck",0,null,[["d",14],["p",15,"hold3",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(4,15,1795275868477393,'[1,"step_sleeping",15,"hold3",0,{"wake":1795275871477132},[["e",15,{"slept":true}],["t",15,"sleeping",0,1795275871477132]]]');
INSERT INTO "wfe_journal" VALUES(3,14,1795275868477393,'[1,"step_failed",14,"stuck",0,{"error":{"type":"ShellCommandError","message":"the command exited with code 1","step":"stuck"},"started":1795275868471898},[["t",14,"failed",0,null]]]');
INSERT INTO "wfe_journal" VALUES(3,15,1795275868477393,'[1,"workflow_suspended",null,null,null,{"error":{"type":"ShellCommandError","message":"the command exited with code 1","step":"stuck"},"reason":"the command exited with code 1"},[["i","suspended",{"type":"ShellCommandError","message":"the command exited with code 1","step":"stuck"}]]]');
INSERT INTO "wfe_journal" VALUES(5,15,1795275868478035,'[1,"step_skipped",15,"hold3",0,null,[["d",15],["p",16,"tell",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,16,1795275868491775,'[1,"step_completed",16,"tell",0,{"started":1795275868478526},[["s",{"text":"1-y-42","steps.tell":{"outputs":{"text":"1-y-42"},"status":"complete"}}],["d",16],["p",17,"outputs",null,"pending",0,null,0]]]');
INSERT INTO "wfe_journal" VALUES(5,17,1795275868496169,'[1,"step_completed",17,"outputs",0,null,[["s",{"outputs":{"all":"1-y-42"}}],["d",17]]]');
INSERT INTO "wfe_journal" VALUES(5,18,1795275868496169,'[1,"workflow_completed",null,null,null,null,[["c"],["i","complete",null]]]');
CREATE TABLE wfe_locks (
    name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE wfe_logs (
    l INTEGER PRIMARY KEY, instance INTEGER NOT NULL, at INTEGER NOT NULL, step TEXT,
    pointer INTEGER, stream TEXT NOT NULL, line TEXT NOT NULL);
CREATE TABLE wfe_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "wfe_meta" VALUES('min_reader',1);
INSERT INTO "wfe_meta" VALUES('next_n',1001);
INSERT INTO "wfe_meta" VALUES('schema',2);
CREATE TABLE wfe_outbox (
    i INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    at INTEGER NOT NULL, payload TEXT NOT NULL, expires INTEGER);
CREATE TABLE wfe_paused (definition TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE wfe_rates (
    r INTEGER PRIMARY KEY, key TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL);
CREATE TABLE wfe_schedules (
    id TEXT PRIMARY KEY, definition TEXT NOT NULL, version INTEGER, data TEXT NOT NULL,
    spec TEXT NOT NULL, next_at INTEGER, paused INTEGER NOT NULL, state TEXT NOT NULL,
    last_n INTEGER, created_at INTEGER NOT NULL, rev INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE wfe_snapshots (
    n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
    data TEXT NOT NULL);
INSERT INTO "wfe_snapshots" VALUES(5,18,1795275868496169,'{"format":1,"seq":18,"status":"complete","error":null,"pointers":[],"writers":{"inputs":0,"a":1,"steps.first":1,"v":4,"steps.each[0]":6,"steps.each[1]":4,"steps.left":8,"steps.right":9,"double":12,"steps.kid":12,"text":16,"steps.tell":16,"outputs":17},"next":18,"logs":{},"signals":{},"origin":null,"since":null}','{"inputs":{"mode":"none"},"a":1,"steps.first":{"outputs":{"a":1},"status":"complete"},"v":"y","steps.each[1]":{"outputs":{"v":"y"},"status":"complete"},"steps.left":{"outputs":{},"status":"complete"},"steps.right":{"outputs":{},"status":"complete"},"double":42,"steps.kid":{"outputs":{"double":42}},"text":"1-y-42","steps.tell":{"outputs":{"text":"1-y-42"},"status":"complete"},"outputs":{"all":"1-y-42"}}');
INSERT INTO "wfe_snapshots" VALUES(6,3,1795275868440632,'{"format":1,"seq":3,"status":"complete","error":null,"pointers":[],"writers":{"inputs":0,"double":1,"steps.calc":1,"outputs":2},"next":3,"logs":{},"signals":{},"origin":null,"since":null}','{"inputs":{"n":21},"double":42,"steps.calc":{"outputs":{"double":42},"status":"complete"},"outputs":{"double":42}}');
INSERT INTO "wfe_snapshots" VALUES(7,3,1795275868440632,'{"format":1,"seq":3,"status":"complete","error":null,"pointers":[],"writers":{"inputs":0,"double":1,"steps.calc":1,"outputs":2},"next":3,"logs":{},"signals":{},"origin":null,"since":null}','{"inputs":{"n":21},"double":42,"steps.calc":{"outputs":{"double":42},"status":"complete"},"outputs":{"double":42}}');
INSERT INTO "wfe_snapshots" VALUES(8,3,1795275868440632,'{"format":1,"seq":3,"status":"complete","error":null,"pointers":[],"writers":{"inputs":0,"double":1,"steps.calc":1,"outputs":2},"next":3,"logs":{},"signals":{},"origin":null,"since":null}','{"inputs":{"n":21},"double":42,"steps.calc":{"outputs":{"double":42},"status":"complete"},"outputs":{"double":42}}');
CREATE TABLE wfe_stream (
    s INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, at INTEGER NOT NULL,
    step TEXT, pointer INTEGER, name TEXT NOT NULL, payload TEXT NOT NULL);
CREATE TABLE wfe_subscriptions (
    instance INTEGER NOT NULL, pointer INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    as_of INTEGER NOT NULL, after_at INTEGER NOT NULL, after_e INTEGER NOT NULL,
    PRIMARY KEY (instance, pointer)) WITHOUT ROWID;
INSERT INTO "wfe_subscriptions" VALUES(1,5,'go','loop',1795275868195732,-1,-1);
INSERT INTO "wfe_subscriptions" VALUES(1,6,'go','loop',1795275868195732,-1,-1);
INSERT INTO "wfe_subscriptions" VALUES(2,11,'go','parallel',1795275868202228,-1,-1);
CREATE TABLE wfe_waiters (
    w INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, lim INTEGER NOT NULL,
    instance INTEGER NOT NULL, pointer INTEGER NOT NULL, attempt INTEGER NOT NULL);
CREATE TABLE wfe_workers (
    epoch INTEGER PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
    started INTEGER NOT NULL, beat INTEGER NOT NULL, fenced INTEGER);
INSERT INTO "wfe_workers" VALUES(7106525882357265838,'wfe','host',13091,1795275868180755,1795275868448095,NULL);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX wfe_definitions_current ON wfe_definitions (id, version) WHERE current;
CREATE UNIQUE INDEX wfe_instances_idem ON wfe_instances (definition, idem)
    WHERE idem IS NOT NULL;
CREATE INDEX wfe_instances_root ON wfe_instances (root_id)
    WHERE owner IS NULL AND wake IS NOT NULL;
CREATE INDEX wfe_instances_owner ON wfe_instances (owner) WHERE owner IS NOT NULL;
CREATE INDEX wfe_instances_parent ON wfe_instances (parent) WHERE parent IS NOT NULL;
CREATE INDEX wfe_instances_created ON wfe_instances (created_at, n);
CREATE INDEX wfe_instances_kind ON wfe_instances (definition, status, created_at, n);
CREATE INDEX wfe_instances_reference ON wfe_instances (reference) WHERE reference IS NOT NULL;
CREATE INDEX wfe_instances_retain ON wfe_instances (retain_until)
    WHERE retain_until IS NOT NULL;
CREATE UNIQUE INDEX wfe_journal_seq ON wfe_journal (instance, seq);
CREATE UNIQUE INDEX wfe_inbox_dedupe ON wfe_inbox (instance, dedupe) WHERE dedupe IS NOT NULL;
CREATE INDEX wfe_inbox_instance ON wfe_inbox (instance);
CREATE INDEX wfe_events_topic ON wfe_events (name, key, at, e);
CREATE INDEX wfe_subscriptions_topic ON wfe_subscriptions (name, key);
CREATE INDEX wfe_logs_instance ON wfe_logs (instance);
CREATE UNIQUE INDEX wfe_instances_dedup ON wfe_instances (definition, dedup)
    WHERE dedup IS NOT NULL AND completed_at IS NULL;
CREATE INDEX wfe_instances_due ON wfe_instances (d, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority = 0;
CREATE INDEX wfe_instances_priority ON wfe_instances (d, priority, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority <> 0;
CREATE INDEX wfe_events_expires ON wfe_events (expires) WHERE expires IS NOT NULL;
CREATE INDEX wfe_activities_name ON wfe_activities (name, a);
CREATE INDEX wfe_holders_instance ON wfe_holders (instance);
CREATE INDEX wfe_waiters_key ON wfe_waiters (key, w);
CREATE INDEX wfe_waiters_instance ON wfe_waiters (instance);
CREATE INDEX wfe_rates_key ON wfe_rates (key, at);
CREATE INDEX wfe_rates_until ON wfe_rates (until);
CREATE INDEX wfe_schedules_due ON wfe_schedules (next_at)
    WHERE next_at IS NOT NULL AND NOT paused;
CREATE INDEX wfe_stream_instance ON wfe_stream (instance, s);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('wfe_inbox',3);
COMMIT;
