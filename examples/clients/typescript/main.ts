// Calls a program in Rust: node main.js URL PREFIX SCHEMAS
import { readFileSync } from "node:fs";
import { Client, JobError } from "./ork.js";
import type { Shapes } from "./tasks.js";

const [url, prefix, schemas] = process.argv.slice(2) as [string, string, string];
const client = await Client.connect(url, { prefix, events: true, schemas: JSON.parse(readFileSync(schemas, "utf8")) });

// A typed input, and a typed output.
const shapes: Shapes = {
  text: "Grüße",
  flag: true,
  small: 255,
  large: Number.MAX_SAFE_INTEGER,
  number: 0.5,
  ranged: 100,
  words: ["a", "b"],
  pair: ["a", 1],
  counts: { a: 1 },
  newtype: 1.5,
  color: "dark-green",
  external: { Circle: { radius: 1 } },
  internal: { kind: "Circle", radius: 2 },
  adjacent: { kind: "Count", value: 3 },
  untagged: "text",
  tree: { value: 1, children: [{ value: 2, children: [] }] },
  anything: { a: [null] },
};
const output = await (await client.submit("shapes", shapes)).result();
console.log("shapes", output.text, output.large, output.color, output.defaulted, output.tree.children[0]?.value);

// An input that the types would have rejected.
try {
  // @ts-expect-error: a number is not a text, and most fields are missing
  await (await client.submit("shapes", { text: 7 })).result();
} catch (error) {
  if (!(error instanceof JobError)) throw error;
  console.log("refused", error.outcome.error?.kind, error.message);
}

// The progress of a job.
const job = await client.submit("climb", { steps: 20 });
const percents: number[] = [];
job.onEvent = ({ data }) => void (typeof data.progress === "number" && percents.push(data.progress));
const steps: number = await job.result();
console.log("climbed", steps, percents.length > 0 && percents.every((it, at) => at === 0 || it >= percents[at - 1]!));

// Cancel a job as soon as it has started.
const long = await client.submit("climb", { steps: 1_000_000 });
await new Promise<void>((resolve) => (long.onEvent = ({ data }) => typeof data.progress === "number" && resolve()));
await client.cancel(long);
console.log("cancelled", (await long.outcome).state);
await client.close();
