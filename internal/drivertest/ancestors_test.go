//go:build linux

package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// fingerprint returns all that stat(2) and listxattr(2) report about each file under a directory, except the access time.
func fingerprint(t *testing.T, dir string) tree {
	t.Helper()
	result := tree{}
	for path, st := range statsUnder(t, dir) {
		node := fmt.Sprintf("device %d inode %d mode %o links %d owner %d:%d rdev %x size %d blocks %d mtime %v ctime %v",
			st.Dev, st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Rdev, st.Size, st.Blocks, st.Mtim, st.Ctim)
		names, err := system.Llistxattr(filepath.Join(dir, path))
		must(t, err)
		for _, name := range names {
			value, err := system.Lgetxattr(filepath.Join(dir, path), name)
			must(t, err)
			node += fmt.Sprintf(" %s=%q", name, value)
		}
		result[path] = node
	}
	return result
}

// useImage changes a container on markedImage in ways that make a union file system copy up files and hide names.
func useImage(t *testing.T, dir string) {
	t.Helper()
	for _, path := range []string{"etc/conf", "bin/sh", "usr/lib/deep/f", "opt/tool"} {
		must(t, appendTo(filepath.Join(dir, path), "more"))
	}
	must(t, os.Chmod(filepath.Join(dir, "var"), 0o700))
	must(t, os.Rename(filepath.Join(dir, "top"), filepath.Join(dir, "opt/moved")))
	must(t, os.Remove(filepath.Join(dir, "var/c")))
	must(t, os.RemoveAll(filepath.Join(dir, "usr")))
	write(t, dir, files{"usr/lib/new": "new", "gone": "again", "etc/old": "again"})
}

// imageInUse lists the names that a container on markedImage shows after useImage.
var imageInUse = []string{
	"bin", "bin/bash", "bin/sh", "etc", "etc/conf", "etc/old", "gone", "opt", "opt/moved", "opt/tool", "usr", "usr/lib", "usr/lib/new",
	"var", "var/d",
}

// TestMountsLeaveAncestorsAlone shows that nothing in a layer's directory changes when others mount, write and read layers on top of it,
// not even a link count or a time. Tools that compare or copy the store, as rsync does, go by these.
func TestMountsLeaveAncestorsAlone(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		makeImage(t, s)
		// A container's layer that later became a parent.
		s.create(t, "upper", "built")
		s.change(t, "built", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "etc/conf")))
			must(t, os.RemoveAll(filepath.Join(dir, "bin")))
			write(t, dir, files{"bin/sh": "sh", "etc/conf": "conf"})
			must(t, os.Link(filepath.Join(dir, "bin/sh"), filepath.Join(dir, "bin/bash")))
			must(t, os.Remove(filepath.Join(dir, "var/d")))
			must(t, os.Link(filepath.Join(dir, "var/c"), filepath.Join(dir, "var/d")))
		})
		ancestors := append(imageIDs(), "built")
		before := layerTrees{}
		for _, id := range ancestors {
			before[id] = fingerprint(t, s.inner.Home.Diff(id))
		}
		same := func(when string) {
			t.Helper()
			for _, id := range ancestors {
				sameTree(t, fingerprint(t, s.inner.Home.Diff(id)), before[id])
			}
			if t.Failed() {
				t.Fatal("this was seen " + when)
			}
		}
		must(t, s.Cleanup())
		for _, by := range hostBackends(t) {
			user, err := reopen(string(s.inner.Home), by)
			must(t, err)
			id := "used-by-" + string(by)
			user.create(t, "built", id)
			user.see(t, id, "ro")
			same("after a read-only mount by " + string(by))
			for range 2 {
				dir := user.get(t, id)
				if _, err := os.Lstat(filepath.Join(dir, "usr/lib/new")); err != nil {
					useImage(t, dir)
				}
				same("in a mount by " + string(by))
				must(t, user.Put(id))
				same("after a mount by " + string(by))
			}
			user.diff(t, id, "built")
			_, err = user.Changes(id, nil, "built", nil)
			must(t, err)
			sameNames(t, user.see(t, id, "ro").Names(), imageInUse...)
			must(t, user.Remove(id))
			same("after the removal of what was mounted by " + string(by))
			must(t, user.Cleanup())
		}
	})
}

// An editByHand is a change that somebody makes in the directory of the layer middle of markedImage. shows and hides are paths in a mount
// of child.
type editByHand struct {
	name  string
	edit  func(t *testing.T, dir string)
	shows files
	hides []string
}

// editsByHand are made one after another. No edit changes both the root of the layer and something below the root, because a change of the
// root is easy to find.
var editsByHand = []editByHand{
	{
		"files added deep", writes(files{"etc/added": "1", "var/added": "2"}),
		files{"etc/added": "1", "var/added": "2"},
		nil,
	},
	{"files added at the root", writes(files{"added": "4"}), files{"added": "4", "etc/added": "1"}, nil},
	{"a directory added", writes(files{"d/e/f/added": "5"}), files{"d/e/f/added": "5"}, nil},
	{"files added in it", writes(files{"d/e/f/other": "6", "d/e/g/": ""}), files{"d/e/f/other": "6", "d/e/f/added": "5"}, nil},
	{
		"files written to deep", writes(files{"etc/added": "new 1", "var/c": "new c"}),
		files{"etc/added": "new 1", "var/c": "new c", "var/d": "new c"},
		nil,
	},
	{"files written to at the root", writes(files{"added": "new 4"}), files{"added": "new 4"}, nil},
	{
		"files replaced deep", replaces(files{"etc/added": "other 1", "var/c": "other c"}),
		files{"etc/added": "other 1", "var/c": "other c", "var/d": "new c"},
		[]string{"etc/added.new"},
	},
	{"files replaced at the root", replaces(files{"added": "other 4"}), files{"added": "other 4"}, []string{"added.new"}},
	{"a file of the layer below replaced deep", writes(files{"etc/conf": "middle"}), files{"etc/conf": "middle"}, nil},
	{"a file of the layer below replaced at the root", writes(files{"top": "middle"}), files{"top": "middle"}, nil},
	{
		"files removed deep", removes("etc/added", "var/c", "etc/conf", "d/e/f"),
		files{"etc/conf": "conf", "var/d": "new c"},
		[]string{"etc/added", "var/c", "d/e/f", "etc/old", "var/a"},
	},
	{"files removed at the root", removes("added", "top", "d"), files{"top": "top"}, []string{"added", "d", "gone"}},
	{"a deletion added at the root", writes(files{".wh.top": ""}), files{"etc/conf": "conf"}, []string{"top", ".wh.top", "gone"}},
	{"a deletion removed at the root", removes(".wh.gone"), files{"gone": "gone"}, []string{"top", "etc/old"}},
}

// look fails the test unless the mount at dir shows and hides the paths of the edit.
func (e editByHand) look(t *testing.T, what, dir string) {
	t.Helper()
	for path, want := range e.shows {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s: %s has %q, %v; want %q", what, path, got, err, want)
		}
	}
	for _, path := range e.hides {
		entries, err := os.ReadDir(filepath.Join(dir, filepath.Dir(path)))
		must(t, err)
		if slices.ContainsFunc(entries, func(entry os.DirEntry) bool { return entry.Name() == filepath.Base(path) }) {
			t.Errorf("%s: %s is shown", what, path)
		}
	}
}

func writes(f files) func(*testing.T, string) {
	return func(t *testing.T, dir string) { t.Helper(); write(t, dir, f) }
}

func replaces(f files) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		for path, content := range f {
			write(t, dir, files{path + ".new": content})
			must(t, os.Rename(filepath.Join(dir, path+".new"), filepath.Join(dir, path)))
		}
	}
}

func removes(paths ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		for _, path := range paths {
			must(t, os.RemoveAll(filepath.Join(dir, path)))
		}
	}
}

// TestEditsByHandShowInTheNextMount changes files of an ancestor in the store, as administrators do. The next mount of a layer on top of it
// shows the change, as with the in-tree driver.
func TestEditsByHandShowInTheNextMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		makeImage(t, s)
		s.see(t, "child")
		middle := s.inner.Home.Diff("middle")
		for _, step := range editsByHand {
			waitForClockPast(t, middle)
			step.edit(t, middle)
			for _, options := range [][]string{nil, {"ro"}} {
				dir := s.get(t, "child", options...)
				step.look(t, fmt.Sprintf("%s, mounted with %q", step.name, options), dir)
				must(t, s.Put("child"))
			}
		}
	})
}

// waitForClockPast waits until the next change of dir gives dir another ctime.
func waitForClockPast(t *testing.T, dir string) {
	t.Helper()
	st, err := fsutil.LstatOf(dir)
	must(t, err)
	must(t, store.ChangeTime(t.TempDir(), func(now unix.Timespec) bool { return now.Nano() > st.Ctim.Nano() }))
}

// TestEditsByHandUnderAnOpaqueDirectoryStayHidden adds files to a layer below an opaque directory of a higher layer. On overlay they stay
// hidden, like the files that were there before. On aufs they show until the driver reads the layers again, because there the driver lists
// each hidden name.
func TestEditsByHandUnderAnOpaqueDirectoryStayHidden(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		makeImage(t, s)
		want := s.see(t, "child").Names()
		for path, id := range map[string]string{"usr/added": "middle", "var/added": "base"} {
			write(t, s.inner.Home.Diff(id), files{path: "added"})
			sameNames(t, s.see(t, "child").Names(), want...)
			sameNames(t, s.see(t, "child", "ro").Names(), want...)
		}
	})
}

// TestAncestorsThatCannotBeChanged mounts and removes layers on top of a layer with immutable or append-only files.
func TestAncestorsThatCannotBeChanged(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, fixed := range map[string]map[string]int{
			"files":       {"etc/new": fsutil.ImmutableFlag, "var/c": fsutil.AppendOnlyFlag},
			"directories": {"usr": fsutil.ImmutableFlag, "etc": fsutil.AppendOnlyFlag, "var": fsutil.ImmutableFlag},
			"the root":    {".": fsutil.ImmutableFlag},
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				makeImage(t, s)
				middle := s.inner.Home.Diff("middle")
				t.Cleanup(func() { clearAllFlags(t, middle) }) // after a failure
				for path, flags := range fixed {
					if !setFlags(t, filepath.Join(middle, path), flags) {
						return
					}
				}
				for range 2 {
					s.create(t, "middle", "other")
					for _, id := range []string{"child", "other"} {
						dir := s.get(t, id)
						if content, err := os.ReadFile(filepath.Join(dir, "var/d")); err != nil || string(content) != "c" {
							t.Errorf("layer %s: var/d has %q, %v", id, content, err)
						}
						write(t, dir, files{"own": "own"})
						must(t, s.Put(id))
						s.see(t, id, "ro")
					}
					must(t, s.Remove("other"))
				}
				must(t, s.Remove("child"))
				must(t, s.Remove("upper"))
				must(t, s.Remove("middle"))
				noLeftovers(t, s)
			})
		}
	})
}

// readOnlyKinds are ways to put the directory of a layer on a mount, which the test then makes read-only.
var readOnlyKinds = []part{
	{"bind mount of itself", func(t *testing.T, dir string) { t.Helper(); bind(t, dir, dir) }},
	{"another file system", func(t *testing.T, dir string) {
		t.Helper()
		before := filepath.Join(t.TempDir(), "before")
		copyDir(t, dir, before)
		mountTmpfs(t, dir)
		copyDir(t, before, dir)
	}},
}

// TestAncestorsOnReadOnlyMounts puts the layers of an image on read-only mounts, as when hosts share them. A container on top of them works
// as usual.
func TestAncestorsOnReadOnlyMounts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, kind := range readOnlyKinds {
			for _, when := range []string{"before the first mount", "after it"} {
				t.Run(kind.name+" "+when, func(t *testing.T) {
					s := newStore(t, name)
					makeImage(t, s)
					if when == "after it" {
						s.see(t, "child")
					}
					for _, id := range imageIDs() {
						dir := s.inner.Home.Diff(id)
						kind.mount(t, dir)
						must(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
					}
					r, err := reopen(string(s.inner.Home), name)
					must(t, err)
					r.change(t, "child", func(dir string) { useImage(t, dir) })
					for _, options := range [][]string{nil, {"ro"}} {
						sameNames(t, r.see(t, "child", options...).Names(), imageInUse...)
					}
					changes, err := r.Changes("child", nil, "upper", nil)
					must(t, err)
					if len(changes) == 0 {
						t.Error("the child has no changes")
					}
					must(t, r.Remove("child"))
					must(t, r.Cleanup())
					for _, id := range imageIDs() {
						must(t, mountutil.UnmountRetry(s.inner.Home.Diff(id)))
					}
					must(t, s.Remove("upper"))
				})
			}
		}
	})
}
