// Returns the words of a text, in lower case.
module.exports = (text) => text.toLowerCase().match(/\p{L}+/gu) ?? [];
