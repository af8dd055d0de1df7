import { grade } from "./grade.ts";

const { percent } = inputs<{ percent: number }>();
output("text", `quality ${grade(percent)} (${percent} %)`);
