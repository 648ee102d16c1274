// Copies src to dist, with the version in front of each file.
const fs = require("node:fs");
const path = require("node:path");
const { version } = require("./package.json");

fs.mkdirSync("dist", { recursive: true });
for (const name of fs.readdirSync("src").sort()) {
  const text = fs.readFileSync(path.join("src", name), "utf8");
  fs.writeFileSync(path.join("dist", name), `// nodeapp ${version}\n${text}`);
}
