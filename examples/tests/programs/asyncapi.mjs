// Holds AsyncAPI documents against AsyncAPI's own parser: node asyncapi.mjs FILE... Prints what is wrong, a line each.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// The packages are not beside this file.
const require = createRequire(join(process.env.ORK_TEST_NODE, "package.json"));
const { Parser } = require("@asyncapi/parser");

for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
  for (const { severity, message, path } of diagnostics) {
    // 0 is an error, 1 a warning; the rest is advice, such as to name a licence.
    if (severity <= 1) console.log(`${file}: ${path.join(".")}: ${message}`);
  }
  if (document === undefined) console.log(`${file}: not understood`);
  else console.error(`${file}: ${document.operations().all().length} operations`);
}
