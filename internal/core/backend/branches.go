//go:build linux

package backend

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// BranchesOf returns the branches of the stack s, top to bottom. top is the directory that is written to, unless the mount is read-only.
func BranchesOf(s Stack, top string) []aufsfs.Branch {
	branches := topBranch(s, top)
	for _, layer := range s.Layers {
		permission := aufsfs.BranchRead
		if layer.Unread {
			permission = aufsfs.BranchUnread
		}
		for _, b := range []aufsfs.Branch{
			{Path: layer.Above, Permission: aufsfs.BranchRead}, {Path: layer.Dir, Permission: permission}, {Path: layer.Below, Permission: aufsfs.BranchRead},
		} {
			if b.Path != "" {
				branches = append(branches, b)
			}
		}
	}
	return branches
}

// PlainBranches is BranchesOf without shadows. The result is nil if one of the layers needs its shadow.
func PlainBranches(s Stack, top string) []aufsfs.Branch {
	branches := topBranch(s, top)
	for _, layer := range s.Layers {
		if layer.Above != "" || layer.Form != "" {
			return nil
		}
		branches = append(branches, aufsfs.Branch{Path: layer.Dir, Permission: aufsfs.BranchRead})
	}
	return branches
}

func topBranch(s Stack, top string) []aufsfs.Branch {
	branches := make([]aufsfs.Branch, 0, len(s.Layers)+1)
	if s.Options.ReadOnly() {
		return branches
	}
	return append(branches, aufsfs.Branch{Path: top, Permission: aufsfs.BranchWritable})
}

// ShortPaths returns the branches with shorter paths, so that more of them fit into one call. The paths lead through open directories of
// the stores, and are valid until done is called.
func ShortPaths(s store.Stores, branches []aufsfs.Branch) (short []aufsfs.Branch, done func(), err error) {
	dirs := []string{s.Home.Diff("")}
	for _, image := range s.Images {
		// An image store that has none of the branches may be missing.
		if slices.ContainsFunc(branches, func(b aufsfs.Branch) bool { return strings.HasPrefix(b.Path, image.Diff("")+"/") }) {
			dirs = append(dirs, image.Diff(""))
		}
	}
	var opened []*os.File
	done = func() {
		for _, dir := range opened {
			_ = dir.Close() // it only lends its number
		}
	}
	for _, path := range append(dirs, string(s.Home)) {
		dir, err := os.OpenFile(path, fsutil.OpenDirectory, 0)
		if err != nil {
			done()
			return nil, nil, err
		}
		opened = append(opened, dir)
	}
	short = make([]aufsfs.Branch, 0, len(branches))
	for _, b := range branches {
		for _, dir := range opened {
			if rest, ok := strings.CutPrefix(b.Path, dir.Name()+"/"); ok {
				b.Path = fmt.Sprintf("/proc/self/fd/%d/", dir.Fd()) + rest
				break
			}
		}
		short = append(short, b)
	}
	return short, done, nil
}
