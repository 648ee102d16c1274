package session

// CacheSigning is a service of Tenon's own, beside BuildKit's, by which a daemon has a cache
// signed: it sends a statement as a BytesValue of protobuf, and gets the signature as another.
// The metadata names the key.
const (
	CacheSigning       = "tenon.session.v1.CacheSigning"
	CacheSigningMethod = "Sign"
	CacheSigningKey    = "tenon-key"
)
