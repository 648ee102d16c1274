// Prints the most frequent words of what is given as arguments.
const top = require("./top.js");

for (const [word, count] of top(process.argv.slice(2).join(" "), 3)) {
  console.log(`${count} ${word}`);
}
