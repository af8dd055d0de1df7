// Runs in front of a Deno step's script: gives it `Wfe` and the helper functions, imports it as a
// module (so that places in errors are those of the script), and reports on a private channel.
//
// What scripts can change afterwards (prototypes, globals) is taken first and not looked up again.

const { stringify } = JSON;
const { apply } = Reflect;
const { isFinite } = Number;
const { freeze, defineProperty, getPrototypeOf, getOwnPropertyDescriptor } = Object;
const Bytes = Uint8Array;
const Wrong = TypeError;
const TooMuch = RangeError;
const NotAllowed = Deno.errors.NotCapable;
const bufferOf = getOwnPropertyDescriptor(getPrototypeOf(Bytes.prototype), "buffer").get;
const lengthOf = getOwnPropertyDescriptor(getPrototypeOf(Bytes.prototype), "byteLength").get;
const encode = TextEncoder.prototype.encode.bind(new TextEncoder());
const matches = RegExp.prototype.exec;
const print = console.log.bind(console);
const complain = console.error.bind(console);
const leave = Deno.exit.bind(Deno);
const readText = Deno.readTextFileSync.bind(Deno);
const realPath = Deno.realPathSync.bind(Deno);
const parse = JSON.parse.bind(JSON);

function readAll() {
  const decoder = new TextDecoder();
  const chunk = new Bytes(65536);
  let text = "";
  for (let count = Deno.stdin.readSync(chunk); count !== null; count = Deno.stdin.readSync(chunk)) {
    text += decoder.decode(chunk.subarray(0, count), { stream: true });
  }
  return text + decoder.decode();
}

const given = parse(readAll());
const { nonce, limit, workspace, confined } = given;
const data = stringify(given.data);
const inputs = stringify(given.inputs);
const channel = Deno.openSync(given.channel, { write: true });
const write = channel.writeSync.bind(channel);
// The script cannot open the channel again.
Deno.permissions.revokeSync({ name: "write", path: given.channel });

let sent = 0;

function send(frame) {
  const bytes = encode(`${nonce} ${frame}\n`);
  const size = apply(lengthOf, bytes, []);
  if (sent + size > limit) {
    throw new TooMuch(`the outputs of the step have more than ${limit} bytes`);
  }
  sent += size;
  let written = write(bytes);
  while (written < size) {
    written += write(new Bytes(apply(bufferOf, bytes, []), written, size - written));
  }
}

const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,199}$/;

function checked(_key, value) {
  if (typeof value === "number" && !isFinite(value)) {
    throw new Wrong(`${value} is no JSON value`);
  }
  if (typeof value === "bigint") {
    throw new Wrong("a bigint is no JSON value; use Number(x) or String(x)");
  }
  return value;
}

function output(name, value) {
  if (typeof name !== "string" || apply(matches, NAME, [name]) === null) {
    throw new Wrong(`an output cannot be called ${stringify(`${name}`)}`);
  }
  if (name === "inputs" || name === "outputs") {
    throw new Wrong(`an output cannot be called "${name}": the run's data has this name already`);
  }
  const text = stringify(value, checked);
  if (text === undefined) {
    throw new Wrong(`the output "${name}" is ${typeof value}, which is no JSON value; use null`);
  }
  send(`{"output":${stringify(name)},"value":${text}}`);
}

function log(...values) {
  print(...values);
}

function readFile(path) {
  const name = `${path}`;
  const parts = [];
  for (const part of name.split("/")) {
    if (part === "..") {
      if (parts.length === 0) throw outside(name);
      parts.length -= 1;
    } else if (part !== "" && part !== ".") {
      parts[parts.length] = part;
    }
  }
  if (name[0] === "/") throw outside(name);
  const whole = `${workspace}/${parts.join("/")}`;
  if (confined) {
    const real = realPath(whole);
    if (real !== whole && !real.startsWith(`${workspace}/`)) throw outside(name);
  }
  return readText(whole);
}

function outside(name) {
  return new NotAllowed(`readFile(${stringify(name)}): the path is not inside the workspace`);
}

const helpers = {
  // Fresh copies, so that a change stays the script's own.
  inputs: () => parse(inputs),
  output,
  log,
  readFile,
};
const Wfe = freeze({
  getData: () => parse(data),
  setOutput: output,
  ...helpers,
});
defineProperty(globalThis, "Wfe", { value: Wfe, enumerable: true });
for (const [name, value] of Object.entries(helpers)) {
  defineProperty(globalThis, name, { value, writable: true, configurable: true });
}

function described(error) {
  let [name, message, stack] = ["Error", "", ""];
  try {
    if (error instanceof Error) {
      name = `${error.name}`;
      message = `${error.message}`;
      stack = `${error.stack}`;
    } else {
      message = typeof error === "string" ? error : Deno.inspect(error);
    }
  } catch {
    message = "the script threw a value that cannot be shown";
  }
  return { name, message, stack };
}

function report(error) {
  const { name, message, stack } = described(error);
  const cut = (text, most) => text.length > most ? `${text.slice(0, most)}...` : text;
  const [a, b, c] = [stringify(cut(name, 200)), stringify(cut(message, 8000)), stringify(cut(stack, 16000))];
  try {
    sent = 0; // An error is always told.
    send(`{"error":${a},"message":${b},"stack":${c}}`);
  } catch {
    // The channel is gone: the exit code says that it failed.
  }
}

globalThis.addEventListener("error", (event) => report(event.error ?? event.message));
globalThis.addEventListener("unhandledrejection", (event) => report(event.reason));
globalThis.addEventListener("unload", () => {
  try {
    sent = 0;
    send('{"end":true}');
  } catch {
    // As above.
  }
});

try {
  await import(given.script);
} catch (error) {
  complain(error);
  report(error);
  leave(1);
}
