/** What a script of a WFE step of type `deno` finds beside Deno's own API. */

/** Anything that JSON can hold. */
type WfeJson =
  | string
  | number
  | boolean
  | null
  | readonly WfeJson[]
  | { readonly [key: string]: WfeJson | undefined };

interface WfeApi {
  /** Return the data of the run: the workflow's inputs and every output made so far, by name. */
  // deno-lint-ignore no-explicit-any
  getData<T = Record<string, any>>(): T;
  /** Set an output of the step; a later call with the same name wins. */
  setOutput(name: string, value: unknown): void;
  /** Return the inputs of the workflow and of the step. */
  // deno-lint-ignore no-explicit-any
  inputs<T = Record<string, any>>(): T;
  /** The same as `setOutput`. */
  output(name: string, value: unknown): void;
  /** Write a line to the log of the run. */
  log(...values: unknown[]): void;
  /** Return the text of a file of the workspace; needs the permission `read` for it. */
  readFile(path: string): string;
}

declare const Wfe: WfeApi;
/** Return the inputs of the workflow and of the step. */
// deno-lint-ignore no-explicit-any
declare function inputs<T = Record<string, any>>(): T;
/** Set an output of the step; a later call with the same name wins. */
declare function output(name: string, value: unknown): void;
/** Write a line to the log of the run. */
declare function log(...values: unknown[]): void;
/** Return the text of a file of the workspace; needs the permission `read` for it. */
declare function readFile(path: string): string;
