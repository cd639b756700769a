//go:build linux

package unpack_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// Tests are full of these, so they have short names.

type (
	tree   = storetest.Tree
	entry  = storetest.Entry
	member = storetest.Member
)

var (
	must         = storetest.Must
	wants        = storetest.Wants
	readTree     = storetest.ReadTree
	sameNames    = storetest.SameNames
	archiveOf    = storetest.ArchiveOf
	archiveBytes = storetest.ArchiveBytes
	headersOf    = storetest.HeadersOf
	testContent  = storetest.Content
	packed       = storetest.Packed
	needRoot     = storetest.NeedRoot
)
