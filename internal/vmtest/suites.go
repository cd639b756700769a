//go:build linux

package main

import "github.com/seed-642172e2/aufs/internal/vmtest/wire"

// A suite is a package whose tests run in the guest.
type suite struct {
	wire.Suite
	pkg  string // the import path
	dir  string // from the root of this module
	tags string
}

// driverPackage is the driver's own.
const driverPackage = "github.com/seed-642172e2/aufs"

// suites are those that are to be run.
func (opts options) suites() []suite {
	if opts.bench != "" {
		return nil
	}
	suites := []suite{{Suite: wire.Suite{Name: "driver"}, pkg: driverPackage, dir: ".", tags: tagsOwn}}
	if opts.image != "" {
		suites = append(suites, suite{
			Suite: wire.Suite{Name: "images"},
			pkg:   driverPackage + "/internal/imagetest", dir: "internal/imagetest",
			tags: tagsOwn + " containers_image_openpgp",
		})
	}
	return suites
}
