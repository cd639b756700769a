//go:build linux

package layertar_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// These short names are for the helpers that tests use most.

type (
	tree  = storetest.Tree
	entry = storetest.Entry
)

var (
	must        = storetest.Must
	readTree    = storetest.ReadTree
	sameTree    = storetest.SameTree
	headersOf   = storetest.HeadersOf
	testContent = storetest.Content
)
