//go:build linux

package layertar_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// Tests are full of these, so they have short names.

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
