package objects

import (
	"encoding/base64"
	"testing"
	"time"
)

// FuzzScopes reads tokens of anybody: none has more scopes than it may, or none.
func FuzzScopes(f *testing.F) {
	enc := base64.RawURLEncoding.EncodeToString
	for _, claims := range []string{
		`{"ac":"[{\"Scope\":\"refs/heads/main\",\"Permission\":3}]","exp":1e99}`, `{"ac":"[]"}`, `{"ac":7}`, `null`, ``,
	} {
		f.Add("a." + enc([]byte(claims)) + ".c")
	}
	f.Fuzz(func(t *testing.T, token string) {
		all, err := scopes(token, time.Unix(0, 0))
		if err == nil && (len(all) == 0 || len(all) > maxScopes) {
			t.Errorf("%d scopes", len(all))
		}
	})
}
