package notes

import (
	"errors"
	"testing"
)

func TestAdd(t *testing.T) {
	var n Notes
	name, err := n.Add("Hello, world")
	if err != nil || name != "hello-world" {
		t.Fatalf("the name is %q (%v)", name, err)
	}
	if text, ok := n.Get(name); !ok || text != "Hello, world" {
		t.Errorf("the note is %q (%v)", text, ok)
	}
	if _, err := n.Add("..."); !errors.Is(err, ErrEmpty) {
		t.Errorf("a note without a word: %v", err)
	}
}
