//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// containerAtWork works in dir as a container does, until stop is closed: it makes, reads, renames, links and writes files in d/ and in
// pairs/, and gives many/a another modification time in each round. It returns the first error, or the first wrong thing that it saw.
func containerAtWork(dir string, stop <-chan struct{}, rounds *atomic.Int64) error {
	path := func(name string) string { return filepath.Join(dir, name) }
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		stamp := time.Unix(int64(1_000_000+n), 0)
		if err := os.Chtimes(path("many/a"), stamp, stamp); err != nil {
			return err
		}
		content := strconv.Itoa(n)
		if err := os.WriteFile(path("d/new"), []byte(content), 0o644); err != nil {
			return err
		}
		if got, err := os.ReadFile(path("d/new")); err != nil || string(got) != content {
			return fmt.Errorf("d/new is %q: %w", got, err)
		}
		err := errors.Join(os.Rename(path("d/new"), path("d/renamed")), os.Link(path("d/renamed"), path("d/link")),
			appendTo(path("d/link"), "x"), appendTo(path(fmt.Sprintf("pairs/%d/a", n%numPairs)), "y"),
			os.Mkdir(path("d/dir"), 0o755), os.Remove(path("d/dir")), os.Remove(path("d/link")), os.Remove(path("d/renamed")))
		if err != nil {
			return err
		}
		info, err := os.Stat(path("many/a"))
		if err != nil {
			return err
		}
		if !info.ModTime().Equal(stamp) {
			return fmt.Errorf("in round %d many/a has the time %v, and was given %v", n, info.ModTime(), stamp)
		}
		rounds.Add(1)
	}
}

func appendTo(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

// numPairs is how many files with two names linkedForWork makes.
const numPairs = 40

// linkedForWork makes a layer on top of one that has the files for containerAtWork: pairs of names of one file, and many/, which has many
// names of one file. It returns the names that each archive of the layer must have.
func linkedForWork(t *testing.T, s testStore) (archived []string) {
	t.Helper()
	s.create(t, "", "base")
	base := s.inner.Home.Diff("base")
	write(t, base, files{"d/": "", "many/a": "old"})
	for n := range numPairs {
		pair := fmt.Sprintf("pairs/%d", n)
		write(t, base, files{pair + "/a": "old", fmt.Sprintf("kept/%d/f", n): "kept"})
		must(t, os.Link(filepath.Join(base, pair, "a"), filepath.Join(base, pair, "b")))
		name := fmt.Sprintf("many/%d", n)
		must(t, os.Link(filepath.Join(base, "many/a"), filepath.Join(base, name)))
		archived = append(archived, name)
	}
	s.create(t, "base", "child")
	return append(archived, "many/a")
}

// TestReadingALayerDisturbsNobody has a container work in a layer while the driver makes the layer's archive and looks for its changes.
// Nothing that the container does may fail, and no time that it sets may be put back. The archive must have, under all names of a file,
// what the container wrote to one of them.
func TestReadingALayerDisturbsNobody(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		archived := linkedForWork(t, s)
		dir := s.get(t, "child")
		if name == backend.Overlay {
			// Overlayfs copies up a file under only the name that was written to.
			archived = []string{"many/a"}
		}
		must(t, appendTo(filepath.Join(dir, "many/a"), "new"))
		stop, ended := make(chan struct{}), make(chan error, 1)
		var rounds atomic.Int64
		go func() { ended <- containerAtWork(dir, stop, &rounds) }()
		for n := 0; (n < 5 || rounds.Load() < 300) && len(ended) == 0; n++ {
			names := keysOf(s.diff(t, "child", "base"))
			changes := s.changes(t, "child", "base")
			for _, want := range archived {
				if !slices.Contains(names, want) || !slices.Contains(changes, "C /"+want) {
					t.Errorf("%s is in the archive %t, and in the changes %t", want, slices.Contains(names, want), slices.Contains(changes, "C /"+want))
				}
			}
		}
		close(stop)
		must(t, <-ended)
		must(t, s.Put("child"))
		names := keysOf(s.diff(t, "child", "base"))
		for n := range numPairs {
			if name == backend.Aufs && (!slices.Contains(names, fmt.Sprintf("pairs/%d/a", n)) || !slices.Contains(names, fmt.Sprintf("pairs/%d/b", n))) {
				t.Errorf("of pairs/%d the archive has one name", n)
			}
		}
	})
}

// TestLateLinksAreFlushed writes to a file when the flush before an unmount has read the pseudo-links, but does not have the mount to
// itself yet. That file must be flushed as well.
func TestLateLinksAreFlushed(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		linkedForWork(t, s)
		dir, branch := s.get(t, "child"), s.inner.Home.Diff("child")
		must(t, appendTo(filepath.Join(dir, "pairs/0/a"), "new"))
		flush := aufsfs.LinkFlush{Target: dir, Writable: branch, Entering: func() {
			must(t, appendTo(filepath.Join(dir, "pairs/1/a"), "new"))
		}}
		must(t, flush.Last())
		for _, name := range []string{"pairs/0/b", "pairs/1/b"} {
			if content, err := os.ReadFile(filepath.Join(branch, name)); err != nil || string(content) != "oldnew" {
				t.Errorf("%s in the branch: %q, %v", name, content, err)
			}
		}
		must(t, s.Put("child"))
	})
}

// TestFlushLeavesOtherFileSystemsAlone mounts another file system in a layer, with a file that has the inode number of a pseudo-link, and
// mounts that file by itself as well. A flush must not change either.
func TestFlushLeavesOtherFileSystemsAlone(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		linkedForWork(t, s)
		dir, branch := s.get(t, "child"), s.inner.Home.Diff("child")
		must(t, appendTo(filepath.Join(dir, "pairs/0/a"), "new"))
		other := filepath.Join(dir, "d")
		must(t, unix.Mount("tmpfs", other, "tmpfs", unix.MS_STRICTATIME, ""))
		defer func() { must(t, unix.Unmount(other, 0)) }()
		write(t, other, files{"f": "f"})
		alone := filepath.Join(dir, "kept/0/f")
		must(t, unix.Mount(filepath.Join(other, "f"), alone, "", unix.MS_BIND, ""))
		defer func() { must(t, unix.Unmount(alone, 0)) }()
		old := []unix.Timespec{{Sec: 1}, {Sec: 1}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, other, old, 0))
		var before, after [2]unix.Stat_t
		look := func(to *[2]unix.Stat_t) {
			must(t, unix.Lstat(other, &to[0]))
			must(t, unix.Lstat(alone, &to[1]))
		}
		look(&before)
		write(t, filepath.Join(branch, whiteout.PseudoLinkDir), files{fmt.Sprintf("%d.999999", before[1].Ino): ""})
		// Wait, so that the current time would show as a change.
		time.Sleep(50 * time.Millisecond)
		s.diff(t, "child", "base")
		look(&after)
		if after != before {
			t.Errorf("the directory and the file are\n %+v, and were\n %+v", after, before)
		}
		if _, err := os.Lstat(filepath.Join(branch, "pairs/0/b")); err != nil {
			t.Errorf("the pseudo-link is not flushed: %v", err)
		}
	})
}

// TestReadOnlyMountWithOldLinks mounts a layer read-only in which an earlier mount has left pseudo-links, with inode numbers that files
// of this mount have. The layer must be readable, and its unmount must find nothing to flush.
func TestReadOnlyMountWithOldLinks(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		linkedForWork(t, s)
		links := files{}
		for ino := range 400 {
			links[fmt.Sprintf("%s/%d.%d", whiteout.PseudoLinkDir, ino, 1_000_000+ino)] = ""
		}
		write(t, s.inner.Home.Diff("child"), links)
		s.get(t, "child", "ro")
		s.diff(t, "child", "base")
		must(t, s.Put("child"))
		noMounts(t, s.inner.Home.Mnt(""))
	})
}
