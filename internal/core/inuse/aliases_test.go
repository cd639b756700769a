//go:build linux

package inuse_test

import "github.com/seed-642172e2/aufs/internal/core/storetest"

// Tests are full of these, so they have short names.

type (
	files = storetest.Files
)

var (
	must     = storetest.Must
	write    = storetest.Write
	needRoot = storetest.NeedRoot
)
