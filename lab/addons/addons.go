// Package addons holds what every cluster has and no distribution put here: its
// DNS.
package addons

import "embed"

// Files are the manifests.
//
//go:embed *.yaml
var Files embed.FS
