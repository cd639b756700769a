//go:build linux

package drivertest

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// Tests use these all the time, so they have short names.

type (
	tree   = storetest.Tree
	files  = storetest.Files
	entry  = storetest.Entry
	member = storetest.Member
)

var (
	must          = storetest.Must
	wants         = storetest.Wants
	write         = storetest.Write
	readTree      = storetest.ReadTree
	sameTree      = storetest.SameTree
	sameNames     = storetest.SameNames
	archiveOf     = storetest.ArchiveOf
	archiveBytes  = storetest.ArchiveBytes
	readArchive   = storetest.ReadArchive
	keysOf        = storetest.KeysOf
	drain         = storetest.Drain
	noMounts      = storetest.NoMounts
	newLayer      = storetest.NewLayer
	headersOf     = storetest.HeadersOf
	packed        = storetest.Packed
	needRoot      = storetest.NeedRoot
	storeOf       = storetest.StoreOf
	hasUserXattrs = storetest.HasUserXattrs
	numbered      = storetest.Numbered
	fileOf        = storetest.FileOf
	linkOf        = storetest.LinkOf
	symlinkOf     = storetest.SymlinkOf
	dirOf         = storetest.DirOf
	testContent   = storetest.Content
)
