package remotecache

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/internal/check"
)

// A cache cannot make an export compare each of its records, or links, with each other one: that
// would take minutes here.
func TestMergeMany(t *testing.T) {
	const many = 20_000
	root := fmt.Sprintf(`{"digest":%q}`, dg("root"))
	apart, pairs, links := []string{root}, []string{root}, make([]string, 4*many)
	for i := range many {
		other := fmt.Sprintf(`{"digest":%q}`, dg(fmt.Sprint(i)))
		apart, pairs = append(apart, other), append(pairs, other)
	}
	for i := range many {
		apart = append(apart, fmt.Sprintf(`{"digest":%q,"inputs":[[{"link":0}],[{"link":%d}]]}`, dg("top"), i+1))
		pairs = append(pairs, fmt.Sprintf(`{"digest":%q,"inputs":[[{"link":0}],[{"link":%d}],[{"link":%d}]]}`, dg("top"), i/2+1, i%2+1))
	}
	for i := range links {
		links[i] = fmt.Sprintf(`{"link":0,"selector":"%d"}`, i)
	}
	linked := fmt.Sprintf(`{"digest":%q,"inputs":[[%s]]}`, dg("top"), strings.Join(links, ","))
	for name, records := range map[string][]string{"apart": apart, "pairs": pairs, "linked": {root, linked}} {
		t.Run(name, func(t *testing.T) {
			g, err := Decode([]byte(`{"records":[`+strings.Join(records, ",")+`]}`), nil)
			check.OK(t, err)
			c := NewCollector()
			c.take(&Import{finders: []*finder{newFinder(g)}})
			for _, n := range c.nodes {
				n.foreign = false
			}
			check.Equal(t, "nodes", len(c.merged()), len(records))
		})
	}
}
