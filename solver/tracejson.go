package solver

import (
	"encoding/json"
	"errors"
	"slices"
)

// A Trace can be kept as JSON, to be compared with later: see [Trace.Since]. What is read
// back says the same in words. Of its keys there is only the ID, and of an error the text.

// plainTrace is an EdgeTrace without its methods.
type plainTrace EdgeTrace

// keptTrace is an EdgeTrace as it is in JSON.
type keptTrace struct {
	plainTrace
	Err string `json:"err,omitempty"`
	// Own: the error is of the vertex itself. Failed is what it failed with.
	Own string `json:"failed,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (t EdgeTrace) MarshalJSON() ([]byte, error) {
	out := keptTrace{plainTrace: plainTrace(t)}
	if own := t.ownError(); own != nil {
		out.Own = own.Err.Error()
	} else if t.Err != nil {
		out.Err = t.Err.Error()
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *EdgeTrace) UnmarshalJSON(dt []byte) error {
	var in keptTrace
	if err := json.Unmarshal(dt, &in); err != nil {
		return err
	}
	*t = EdgeTrace(in.plainTrace)
	switch {
	case in.Own != "":
		t.Err = &VertexError{Digest: t.Vertex, Name: t.Name, Err: errors.New(in.Own)}
	case in.Err != "":
		t.Err = errors.New(in.Err)
	}
	return nil
}

// ownError is the error of the vertex itself; nil if it has none.
func (t *EdgeTrace) ownError() *VertexError {
	if own := (*VertexError)(nil); errors.As(t.Err, &own) && own.Digest == t.Vertex {
		return own
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler: it is String.
func (k DecisionKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. A kind that this version does not
// know is 0.
func (k *DecisionKind) UnmarshalText(text []byte) error {
	*k = DecisionKind(max(0, slices.Index(decisionNames[:], string(text))))
	return nil
}
