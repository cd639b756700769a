package bench

import "strings"

// Names of the drivers, as values of the key "driver". The names of tar's results begin with
// TarPrefix.
const (
	Ours          = "aufs"
	OursOnOverlay = "aufs-overlay"
	InTree        = "intree"
	Overlay       = "overlay"
	VFS           = "vfs"
	Floor         = "floor"         // the part that no driver can do without: the kernel's work on aufs or any file system, or the library's unpacking
	FloorOverlay  = "floor-overlay" // the same on overlayfs
	TarPrefix     = "tar"
)

// Values of the key "get" of GetFirst.
const (
	First    = "first"
	Later    = "later"
	Uncached = "uncached"
)

// NoAuplink is the beginning of the results' setting "auplink" if there is no such program.
const NoAuplink = "none"

// A Goal is the least ratio of another driver's time to the time of this module's driver.
type Goal struct {
	Row   string // the beginning of the rows' names, up to a slash or the end
	Other string // the driver to compare with; or Later: this module's driver when it mounts the same container once more
	Least float64
}

// withinOverlay is the ratio of the overlay driver's time to that of this driver's overlay backend,
// which may take 1.3 times as long.
const withinOverlay = 1 / 1.3

// MostFirst is the greatest ratio of the time of the first Get after a pull to the time of a later Get.
const MostFirst = 1.3

// Goals returns the goals of the project.
func Goals() []Goal {
	return []Goal{
		{"GetPut/parents=1", InTree, 1},
		{"GetPut/parents=2", InTree, 1},
		{"GetPut/parents=30", InTree, 1},
		{"GetPut/parents=120", InTree, 1.5},
		{"GetPut", Overlay, 0.9},
		{"GetPutWritten/marks=none", InTree, 1},
		{"GetPutWritten", Overlay, 0.9},
		{"GetFirst/get=" + First, Later, 1 / MostFirst},
		{"GetFirst/get=" + First, Overlay, 0.9},
		{"GetFirst/get=" + Later, Overlay, 0.9},
		{"Changes/parents=100/files=1000", InTree, 30},
		{"Changes", Overlay, withinOverlay},
		{"Diff/files=1000/content=small", InTree, 1.5},
		{"Diff/files=10000/content=small", InTree, 1.5},
		{"Diff", TarPrefix, 0.8},
		{"Diff", Overlay, withinOverlay},
		{"ApplyDiff", InTree, 1.2},
		{"ApplyDiff", Overlay, withinOverlay},
		{"DiffSize", InTree, 1},
		{"ReadWriteDiskUsage", InTree, 1},
		{"DeferredRemove/files=10000", InTree, 100},
		{"Cleanup/containers=50/files=10000", InTree, 50},
		{"Cleanup", Overlay, 0.8},
		{"Create/layers=10000", InTree, 1},
		{"Exists/layers=10000", InTree, 1},
		{"ListLayers/layers=10000", InTree, 1},
		{"Concurrent/goroutines=8", InTree, 2},
		{"Concurrent/processes=4", InTree, 2},
	}
}

// GoalOf returns the goal of a row in comparison with another driver.
func GoalOf(row, other string) (least float64, ok bool) {
	for _, g := range Goals() {
		if g.Other == other && (row == g.Row || strings.HasPrefix(row, g.Row+"/")) {
			return g.Least, true
		}
	}
	return 0, false
}
