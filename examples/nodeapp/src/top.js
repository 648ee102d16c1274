// Returns the n most frequent words of a text, with how often they are there.
const words = require("words");
const tally = require("tally");

module.exports = (text, n) => tally(words(text)).slice(0, n);
