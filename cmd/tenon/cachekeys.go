package main

import (
	"strconv"

	"github.com/tenonbuild/tenon/engine/remotecache"
)

// cacheEnv are the variables that say of caches what their attributes do not, by attribute.
// Who is asked for a build has no access to these, and uses none of its own.
var cacheEnv = map[string]map[string]string{
	"s3":  {"bucket": "AWS_BUCKET", "region": "AWS_REGION"},
	"gha": {"token": "ACTIONS_RUNTIME_TOKEN", "url": "ACTIONS_CACHE_URL"},
	"azblob": {
		"account_url": "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", "account_name": "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME",
		"container": "BUILDKIT_AZURE_STORAGE_CONTAINER", "prefix": "BUILDKIT_AZURE_STORAGE_PREFIX",
	},
}

// s3Key are the variables of a key for S3. They belong together.
var s3Key = map[string]string{
	"access_key_id":     "AWS_ACCESS_KEY_ID",
	"secret_access_key": "AWS_SECRET_ACCESS_KEY",
	"session_token":     "AWS_SESSION_TOKEN",
}

// fromEnv adds to a cache what the environment says of it.
func (c *cli) fromEnv(o remotecache.Option) {
	add := func(names map[string]string) {
		for attr, name := range names {
			if v, ok := c.env(name); ok && v != "" && o.Attrs[attr] == "" {
				o.Attrs[attr] = v
			}
		}
	}
	add(cacheEnv[o.Type])
	if v2, _ := c.env("ACTIONS_CACHE_SERVICE_V2"); o.Type == "gha" {
		results := map[string]string{"url": "ACTIONS_RESULTS_URL"}
		if yes, err := strconv.ParseBool(v2); err == nil && yes || o.Attrs["version"] == "2" {
			results = map[string]string{"url_v2": "ACTIONS_RESULTS_URL"}
		}
		add(results)
	}
	if o.Type == "s3" && o.Attrs["access_key_id"] == "" && o.Attrs["secret_access_key"] == "" {
		add(s3Key)
	}
}
