const test = require("node:test");
const assert = require("node:assert");
const top = require("../dist/top.js");

test("the most frequent words come first", () => {
  assert.deepStrictEqual(top("a rose is a rose is a rose", 2), [["a", 3], ["rose", 3]]);
});

test("no words", () => {
  assert.deepStrictEqual(top("...", 3), []);
});
