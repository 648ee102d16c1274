package dockerfile

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// What is reckoned of a word is never less than what the library makes of it: texts are
// put together at random of what means something to it.
func TestWordIsNeverLarger(t *testing.T) {
	tokens := []string{
		"$", "{", "}", "${", "$A", "$B", "$_9", "${A}", "${B:-", "${A:+", "${B-", "${A#", "${A##", "${A%", "${A/", "${A//", "${B//", "${none//",
		"x", "xy", "*", "?", "/", "//", ":", "\\", "\\$", "\\}", "'", "\"", "<<", " ", "é", "0", "1", "$1", "$$", "$*", "$0", "\\${",
	}
	values := []string{"", "x", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "$0$0$0$A", "x/y/x/y", "\\x", "y'y", strings.Repeat("xy", 40)}
	done := 0
	for seed := range uint64(50_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var word strings.Builder
		for range 1 + r.IntN(12) {
			word.WriteString(tokens[r.IntN(len(tokens))])
		}
		env, of := []string{}, &sizes{of: map[string]int{}}
		for _, name := range []string{"A", "B", "_9", "1", "0", "*", "$", "xy"} {
			v := values[r.IntN(len(values))]
			env = append(env, name+"="+v)
			of.set(name, len(v))
		}
		lex := shell.NewLex('\\')
		lex.RawQuotes, lex.SkipUnsetEnv, lex.SkipProcessQuotes = seed%2 == 0, seed%3 == 0, seed%5 == 0
		got, _, err := lex.ProcessWord(word.String(), shell.EnvsFromSlice(env))
		if err != nil {
			continue
		}
		done++
		if at := (&expansion{}).word(word.String(), of); at < len(got) {
			t.Fatalf("seed %d: %q with %q is %q, %d bytes, and was reckoned as %d", seed, word.String(), env, got, len(got), at)
		}
	}
	if done < 5_000 {
		t.Errorf("only %d words could be expanded", done)
	}
}
