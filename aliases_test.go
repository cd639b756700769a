//go:build linux

package aufs

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// These short names are for the helpers that tests use most.

type (
	files = storetest.Files
	entry = storetest.Entry
)

var (
	must         = storetest.Must
	wants        = storetest.Wants
	write        = storetest.Write
	readTree     = storetest.ReadTree
	sameNames    = storetest.SameNames
	archiveOf    = storetest.ArchiveOf
	archiveBytes = storetest.ArchiveBytes
	readArchive  = storetest.ReadArchive
	keysOf       = storetest.KeysOf
	drain        = storetest.Drain
	noMounts     = storetest.NoMounts
)
