package greet

import "testing"

func TestHello(t *testing.T) {
	if got := Hello("Tenon"); got != "Hello, Tenon!" {
		t.Errorf("got %q", got)
	}
}
