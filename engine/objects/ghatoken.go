package objects

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Scope is a part of a cache that a token is for.
type Scope struct {
	Scope      string
	Permission int
}

// Writes says whether the token may write there.
func (s Scope) Writes() bool { return s.Permission&2 != 0 }

// maxScopes bounds the scopes of a token.
const maxScopes = 32

// scopes reads what a token says that it is for. Whether that is true the server knows.
func scopes(token string, now time.Time) ([]Scope, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("it is no JSON Web Token")
	}
	dt, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil, fmt.Errorf("its claims: %w", err)
	}
	var claims struct {
		Access  string  `json:"ac"`
		Expires float64 `json:"exp"`
	}
	if err := json.Unmarshal(dt, &claims); err != nil {
		return nil, fmt.Errorf("its claims: %w", err)
	}
	if at := time.Unix(int64(claims.Expires), 0); claims.Expires > 0 && now.After(at) {
		return nil, fmt.Errorf("it has expired at %s", at.UTC().Format(time.RFC3339))
	}
	var all []Scope
	if err := json.Unmarshal([]byte(claims.Access), &all); err != nil {
		return nil, fmt.Errorf("its scopes (the claim ac): %w", err)
	}
	if len(all) == 0 || len(all) > maxScopes {
		return nil, fmt.Errorf("it has %d scopes: there must be 1 to %d", len(all), maxScopes)
	}
	return all, nil
}
