package bench

import "strings"

// Names of the drivers, as values of the key "driver". What is tar's begins with TarPrefix.
const (
	Ours          = "aufs"
	OursOnOverlay = "aufs-overlay"
	InTree        = "intree"
	Overlay       = "overlay"
	VFS           = "vfs"
	Floor         = "floor"         // what no driver does without, on aufs or wherever: the kernel's part of it, or the library's unpacking
	FloorOverlay  = "floor-overlay" // the same, on overlayfs
	TarPrefix     = "tar"
)

// A Goal is how many times as long as this module's driver another one is to take, at least.
type Goal struct {
	Row   string // the beginning of the names of rows, up to a slash or the end
	Other string // the driver that is compared with
	Least float64
}

// withinOverlay is the ratio of the overlay driver to this one's overlay backend, which may take 1.3 times as long.
const withinOverlay = 1 / 1.3

// Goals are those of the project.
func Goals() []Goal {
	return []Goal{
		{"GetPut/branches=2", InTree, 1},
		{"GetPut/branches=127", InTree, 3},
		{"GetPut", Overlay, withinOverlay},
		{"GetPutWritten", Overlay, withinOverlay},
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
		{"Create/layers=10000", InTree, 1},
		{"Exists/layers=10000", InTree, 1},
		{"ListLayers/layers=10000", InTree, 1},
		{"Concurrent/goroutines=8", InTree, 2},
		{"Concurrent/processes=4", InTree, 2},
	}
}

// GoalOf finds the goal of a row, compared with another driver.
func GoalOf(row, other string) (least float64, ok bool) {
	for _, g := range Goals() {
		if g.Other == other && (row == g.Row || strings.HasPrefix(row, g.Row+"/")) {
			return g.Least, true
		}
	}
	return 0, false
}
