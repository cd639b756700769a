//go:build linux

package layertar_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// These short names are for the helpers that tests use most.

var (
	must        = storetest.Must
	headersOf   = storetest.HeadersOf
	testContent = storetest.Content
)
