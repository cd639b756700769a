//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/ocimodel"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// layerCases are stacks of archives, in the notation of package ocimodel, and the names that the uppermost layer shows.
var layerCases = []struct{ stack, shows string }{
	// An implied directory that holds only whiteouts does not count as an entry.
	{"foo/x foo/bar/baz stay | .wh.foo foo/.wh.x", "stay"},
	{"foo/x foo/bar/baz stay | foo/.wh.x .wh.foo", "stay"},
	{"stay | foo/.wh.x", "stay"},
	{"foo/x stay | foo/.wh.x foo/bar/.wh.y", "foo stay"},
	{"foo | foo/.wh.x", "foo"},
	{"foo/x | foo/.wh..wh..opq", "foo"},
	{"foo/x | foo/.wh..wh..opq .wh.foo", ""},
	{"foo/x | foo/x/.wh.y .wh..wh..opq", ""},
	{"foo/x | new/ new/d/.wh.x", "foo foo/x new"},
	{"foo/.wh.x stay | x", "stay x"},
	// A directory that has an entry of its own, or holds a file, exists. The whiteout of its name hides what is below.
	{"foo/x | .wh.foo foo/ foo/.wh.x", "foo"},
	{"foo/x | foo/y .wh.foo", "foo foo/y"},
	{"foo/x/y | .wh.foo foo/x/z", "foo foo/x foo/x/z"},
	// An implied directory keeps the metadata that it has below, or gets default metadata.
	{"d/ d/e/ | d/e/f", "d d/e d/e/f"},
	{"d/ d/e/ | d/f | d/e/g d/.wh.f", "d d/e d/e/g"},
	{"d/ | .wh.d d/f", "d d/f"},
	{"d | d/f", "d d/f"},
	{"a/d/ | a/d/x a/", "a a/d a/d/x"},
	// A name that occurs twice in an archive.
	{"d/f | d/ d d/ d/e/g", "d d/e d/e/g d/f"},
	{"d/x/ | d/ d/x/ d d/ d/x/.wh.y", "d d/x"},
	// A new directory inside of a new directory.
	{".wh.d d/.wh.e d/e/f | g", "d d/e d/e/f g"},
}

// TestLayerCases compares what stacks of layers show with what the image specification says.
func TestLayerCases(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		withWays(t, func(t *testing.T, options driver.ApplyOptions) {
			s := newStore(t, name)
			for i, c := range layerCases {
				t.Run(c.stack, func(t *testing.T) {
					want, problems := compareStack(t, s, fmt.Sprint("l", i, "-"), c.stack, options, i%2 == 1)
					sameNames(t, slices.Collect(maps.Keys(want)), strings.Fields(c.shows)...)
					for _, problem := range problems {
						t.Error(problem)
					}
				})
			}
		})
	})
}

// TestImpliedDirectoriesKeepAttributes checks that a directory that an archive only implies keeps all metadata that the layer below has
// for it, and that a new implied directory takes nothing over from the directory around it.
func TestImpliedDirectoriesKeepAttributes(t *testing.T) {
	ids := []idmap.Map{{ContainerID: 0, HostID: 100_000, Size: 65536}}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		withWays(t, func(t *testing.T, options driver.ApplyOptions) {
			s := newStore(t, name)
			s.create(t, "", "base", "child")
			old := filepath.Join(s.inner.Home.Diff("base"), "old")
			must(t, os.Mkdir(old, 0o700))
			must(t, os.Chown(old, 100_007, 100_008))
			setACL(t, old, fsutil.ACLAccess, 100_005, 6)
			setACL(t, old, fsutil.ACLDefault, 100_005, 6)
			if hasUserXattrs(t) {
				must(t, system.Lsetxattr(old, "user.a", []byte("v"), 0))
			}
			must(t, os.Chmod(old, 0o2750))
			want, err := os.Lstat(old)
			must(t, err)
			options.Mappings = idmapsOf(ids, ids)
			list := layertar.AppendACL(layertar.NewACL(), layertar.ACLUserObj, 7, layertar.ACLNoID)
			for _, e := range [][3]uint32{{layertar.ACLUser, 7, 1}, {layertar.ACLGroupObj, 5, layertar.ACLNoID}, {0x10, 7, layertar.ACLNoID}, {layertar.ACLOther, 0, layertar.ACLNoID}} {
				list = layertar.AppendACL(list, uint16(e[0]), uint16(e[1]), e[2])
			}
			options.Diff = bytes.NewReader(headersOf(t,
				&tar.Header{Typeflag: tar.TypeReg, Name: "old/f", Mode: 0o644},
				&tar.Header{Typeflag: tar.TypeDir, Name: "listed/", Mode: 0o750, PAXRecords: map[string]string{layertar.PaxXattr + fsutil.ACLDefault: string(list)}},
				&tar.Header{Typeflag: tar.TypeReg, Name: "listed/new/f", Mode: 0o644},
			))
			_, err = s.ApplyDiff("child", "base", options)
			must(t, err)
			diff := s.inner.Home.Diff("child")
			got := readTree(t, diff)
			if before := readTree(t, old); got["old"] != before["."] {
				t.Errorf("it is %s, and was %s", got["old"], before["."])
			}
			now, err := os.Lstat(filepath.Join(diff, "old"))
			must(t, err)
			if !now.ModTime().Equal(want.ModTime()) {
				t.Errorf("it is of %v, and was of %v", now.ModTime(), want.ModTime())
			}
			if node := fmt.Sprintf("%v 100000:100000", fs.ModeDir|0o755); got["listed/new"] != node {
				t.Errorf("the new one is %s, not %s", got["listed/new"], node)
			}
		})
	})
}

// TestManyImpliedDirectoriesAreRefused checks that the driver remembers only so many implied directories, and refuses more.
func TestManyImpliedDirectoriesAreRefused(t *testing.T) {
	for _, rel := range []string{"d", strings.Repeat("d/", 2000)} {
		var i unpack.ImpliedDirs
		var err error
		for n := 0; err == nil && n < 2<<20; n++ {
			err = i.KeepsMetadata(unpack.DirBelow{Rel: rel})
		}
		wants(t, err, unpack.ErrManyImplied)
		if len(i.Below) < 10_000 {
			t.Errorf("of %d bytes, %d were taken", len(rel), len(i.Below))
		}
	}
}

// TestLayersAreOfTheSpecification is TestLayerCases for random stacks. -rapid.checks, or RAPID_CHECKS in the environment, says how many.
func TestLayersAreOfTheSpecification(t *testing.T) {
	// rapid need not write a file about a failure: the test prints the stack, which belongs in layerCases.
	must(t, flag.Set("rapid.nofailfile", "true"))
	storetest.Seed()
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s, n := newStore(t, name), 0
		rapid.Check(t, func(rt *rapid.T) {
			stack := ocimodel.Draw(rt)
			n++
			_, problems := compareStack(t, s, fmt.Sprint("l", n, "-"), stack, driver.ApplyOptions{IgnoreChownErrors: n%10 == 0}, n%3 == 0)
			if len(problems) > 0 {
				rt.Fatalf("%s\n%s", stack, strings.Join(problems, "\n"))
			}
		})
	})
}

// compareStack applies archives to layers whose ids begin with prefix, and compares what the uppermost layer shows with what the
// specification says. staged says that each archive is staged and then committed to its layer. compareStack removes the layers in the end.
func compareStack(t *testing.T, s testStore, prefix, text string, options driver.ApplyOptions, staged bool) (want map[string]*ocimodel.Node, problems []string) {
	t.Helper()
	apply := s.ApplyDiff
	if staged {
		apply = s.applyStagedLayer
	}
	root, parent := ocimodel.NewTree(), ""
	var ids []string
	defer func() {
		for _, id := range slices.Backward(ids) {
			must(t, s.Remove(id))
		}
	}()
	for i, entries := range ocimodel.Parse(text) {
		layer, err := ocimodel.Read(entries)
		must(t, err)
		content, err := ocimodel.Archive(entries)
		must(t, err)
		id := fmt.Sprint(prefix, i)
		s.create(t, parent, id)
		ids = append(ids, id)
		options.Diff = bytes.NewReader(content)
		_, err = apply(id, parent, options)
		if err != nil && layer.Doubtful {
			// The layer is as empty as before. Apply an empty archive to it.
			options.Diff = bytes.NewReader(make([]byte, 1024))
			_, err = apply(id, parent, options)
		} else if err == nil {
			layer.Apply(root)
		}
		must(t, err)
		parent = id
	}
	dir := s.get(t, parent)
	defer func() { must(t, s.Put(parent)) }()
	return root.All(), compareTree(t, dir, root.All())
}

// compareTree compares the files in a directory with the expected ones.
func compareTree(t *testing.T, dir string, want map[string]*ocimodel.Node) (problems []string) {
	t.Helper()
	seen := map[string]bool{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(dir, path)
		if err != nil || rerr != nil || rel == "." {
			return err
		}
		seen[rel] = true
		if want[rel] == nil {
			problems = append(problems, rel+" is too many")
			return nil
		}
		got, wanted := describeFile(t, path, want[rel])
		if got != wanted {
			problems = append(problems, fmt.Sprintf("%s is %q, not %q", rel, got, wanted))
		}
		return nil
	}))
	for path := range want {
		if !seen[path] {
			problems = append(problems, path+" is missing")
		}
	}
	slices.Sort(problems)
	return problems
}

// describeFile returns what a file is, and what it should be.
func describeFile(t *testing.T, path string, node *ocimodel.Node) (got, want string) {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	content := ""
	switch {
	case info.Mode().IsRegular():
		read, err := os.ReadFile(path)
		must(t, err)
		content = string(read)
	case info.Mode()&fs.ModeSymlink != 0:
		content, err = os.Readlink(path)
		must(t, err)
	}
	types := map[byte]uint32{tar.TypeReg: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR, tar.TypeSymlink: unix.S_IFLNK, tar.TypeFifo: unix.S_IFIFO}
	const format = "%o %d:%d %q at %d"
	st, at := fsutil.StatOf(info), info.ModTime().Unix()
	if node.ModTime == 0 {
		at = 0
	}
	return fmt.Sprintf(format, st.Mode, st.Uid, st.Gid, content, at),
		fmt.Sprintf(format, types[node.Type]|uint32(node.Mode), node.UID, node.GID, node.Content+node.Link, node.ModTime)
}
