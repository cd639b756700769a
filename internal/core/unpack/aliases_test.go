//go:build linux

package unpack_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// These short names are for the helpers that tests use most.

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
