//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

// givesBack fails the test unless the getter of the layer id returns the content of every file in an archive, in the order in which the
// storage library asks for them.
func (s testStore) givesBack(t *testing.T, id string, content []byte) {
	t.Helper()
	getter, err := s.inner.DiffGetter(id)
	must(t, err)
	defer getter.Close()
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		want, err := io.ReadAll(r)
		must(t, err)
		if h.Size == 0 {
			continue
		}
		f, err := getter.Get(h.Name)
		if err != nil {
			t.Errorf("%s: %v", h.Name, err)
			continue
		}
		got, err := io.ReadAll(f)
		must(t, errors.Join(err, f.Close()))
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %.20q, and it was %.20q", h.Name, got, want)
		}
	}
}

// TestArchiveIsGivenBack applies archives with content that the layer cannot show. The layer's getter must return it all the same.
func TestArchiveIsGivenBack(t *testing.T) {
	for what, members := range map[string][]member{
		"a whiteout with content":  {fileOf("b"), fileOf(".wh.a"), fileOf("d/.wh..wh..opq"), fileOf("d/.wh.e")},
		"aufs's own files":         {dirOf(".wh..wh.plnk/"), fileOf(".wh..wh.plnk/123.456"), linkOf("f", ".wh..wh.plnk/123.456"), fileOf("d/.wh..wh.x/y")},
		"a whiteout as a link":     {fileOf("c"), linkOf(".wh.b", "c"), fileOf(".wh.b"), fileOf(".wh.b")},
		"a directory of whiteouts": {dirOf(".wh.f/"), fileOf(".wh.f/g"), fileOf(".wh.f/h/i")},
		"a name several times":     {fileOf("a"), fileOf("./a"), fileOf("b"), fileOf("a")},
		"a file for a directory":   {fileOf("d/a"), fileOf("d/e/b"), fileOf("d"), dirOf("d/"), fileOf("d/a"), fileOf("d")},
		"links that go":            {fileOf("a"), linkOf("b", "a"), fileOf("b"), fileOf("c"), linkOf("a", "c"), fileOf("a")},
		"through a symbolic link":  {fileOf("d/f"), symlinkOf("s", "d"), fileOf("s/f"), fileOf("d/f"), fileOf("s/g"), fileOf("d/g")},
		"a link that goes":         {dirOf("d/"), symlinkOf("s", "/d"), fileOf("s/f"), fileOf("s"), fileOf("d/h")},
		"a link that turns":        {dirOf("d/"), dirOf("e/"), symlinkOf("s", "d"), fileOf("s/f"), symlinkOf("s", "e"), fileOf("s/f"), fileOf("s/f")},
		"a link for a directory":   {fileOf("s/f"), dirOf("d/"), symlinkOf("s", "d"), fileOf("s/f")},
		"a whiteout below a link":  {dirOf("d/"), symlinkOf("s", "d"), fileOf("s/x/.wh.f")},
		"a long name of a file":    {fileOf("a"), fileOf(strings.Repeat("b/../", 1000) + "a"), fileOf("a")},
	} {
		t.Run(what, func(t *testing.T) {
			forEachBackend(t, func(t *testing.T, name backend.Name) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				s.apply(t, "base", "", entry{Name: "low", Content: "low"})
				content := numbered(t, members...)
				_, err := s.ApplyDiff("child", "base", driver.ApplyOptions{Diff: bytes.NewReader(content)})
				must(t, err)
				s.givesBack(t, "child", content)
				must(t, s.CreateFromTemplate("copy", "child", nil, false))
				s.givesBack(t, "copy", content)
				s.see(t, "child")
				s.givesBack(t, "child", content)
				noLeftovers(t, s)
				must(t, s.Remove("copy"))
				must(t, s.Remove("child"))
				s.create(t, "base", "child")
				s.getsNo(t, "child", members[len(members)-1].Name, nil)
				noLeftovers(t, s)
			})
		})
	}
}

// TestDeepFileIsGivenBack applies an archive with a file whose path is longer than the kernel reports in one call.
func TestDeepFileIsGivenBack(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		deep := fileOf(strings.Repeat(strings.Repeat("deep", 20)+"/", 50) + "f")
		content := numbered(t, deep, deep, fileOf("b"))
		must(t, s.applyBytes("base", "", content))
		s.givesBack(t, "base", content)
	})
}

// TestManyLinksAreTaken tells a Keeper of more files written through symbolic links than it remembers. The Keeper must give up, within its
// limits.
func TestManyLinksAreTaken(t *testing.T) {
	for what, name := range map[string]string{"many": "f", "long": strings.Repeat("f", 1<<12)} {
		names := layertar.NewNames()
		k := kept.New(t.TempDir(), &names)
		entries, most := 0, 0
		for ; entries <= kept.MostOwners && !names.GaveUp(); entries++ {
			k.Own(&layertar.Cut{Name: fmt.Sprintf("s/%s%d", name, entries)}, fmt.Sprintf("d/%s%d", name, entries))
			most = max(most, k.OwnersText)
		}
		if len(k.Owners) > 0 || !names.GaveUp() || most > kept.MostOwnersText || entries < 1000 {
			t.Errorf("%s: of %d entries %d are remembered, of %d bytes", what, entries, len(k.Owners), most)
		}
		must(t, k.Finish())
	}
}

// TestKeptIsDropped checks that the driver drops what it kept for a layer when the layer gets other content.
func TestKeptIsDropped(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		must(t, os.MkdirAll(s.inner.Home.Kept("child"), 0o700))
		must(t, os.WriteFile(filepath.Join(s.inner.Home.Kept("child"), layertar.KeptName{Name: "a", N: 1}.File()), []byte("stale"), 0o600))
		content := numbered(t, fileOf("a"))
		_, err := s.ApplyDiff("child", "base", driver.ApplyOptions{Diff: bytes.NewReader(content)})
		must(t, err)
		s.givesBack(t, "child", content)
		// A layer that already has content gets the archive on top of it.
		must(t, s.applyBytes("child", "base", numbered(t, fileOf("b"), fileOf("b"))))
		s.getsFile(t, "child", "b", "content 1")
		must(t, os.MkdirAll(s.inner.Home.Kept("child"), 0o700))
		must(t, os.WriteFile(filepath.Join(s.inner.Home.Kept("child"), layertar.KeptName{Name: "b", N: 1}.File()), []byte("stale"), 0o600))
		content = numbered(t, fileOf("a"), fileOf("c"), fileOf("b"))
		must(t, s.applyBytes("child", "base", content))
		s.givesBack(t, "child", content)
		must(t, os.MkdirAll(s.inner.Home.Kept("stray"), 0o700))
		other, err := reopen(string(s.inner.Home), name)
		must(t, err)
		must(t, other.Cleanup())
		noLeftovers(t, s)
	})
}

// TestHostileArchivesAreGivenBack is TestArchiveIsGivenBack for the hostile archives.
func TestHostileArchivesAreGivenBack(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, members := range hostile {
			t.Run(what, func(t *testing.T) {
				v := newVictim(t, name)
				content := numbered(t, members(v)...)
				if _, err := v.ApplyDiff("child", "base", driver.ApplyOptions{Diff: bytes.NewReader(content)}); err == nil {
					v.givesBack(t, "child", content)
				}
			})
		}
	})
}

// TestAnyArchiveIsGivenBack is TestArchiveIsGivenBack for random archives.
func TestAnyArchiveIsGivenBack(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		taken := 0
		for seed := range uint64(150) {
			content := storetest.AnyArchive(t, rand.New(rand.NewPCG(seed, 1)))
			s.create(t, "", "base")
			if _, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: bytes.NewReader(content)}); err == nil {
				taken++
				s.givesBack(t, "base", content)
			}
			if t.Failed() {
				t.Fatalf("the seed was %d", seed)
			}
			must(t, s.Remove("base"))
		}
		noLeftovers(t, s)
		if taken < 25 {
			t.Errorf("%d archives were taken", taken)
		}
	})
}

// TestChildKeepsWhatItLeaves has a child process unpack archives. The driver must keep the content of whiteouts and of aufs's own files, but
// not that of files that later entries replace.
func TestChildKeepsWhatItLeaves(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		content := numbered(t, fileOf("b"), fileOf(".wh.a"), fileOf(".wh..wh.x/y"), fileOf("c"))
		_, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: bytes.NewReader(content), IgnoreChownErrors: true})
		must(t, err)
		s.givesBack(t, "base", content)
		content = numbered(t, fileOf("b"), fileOf("b"), dirOf("d/"), symlinkOf("s", "d"), fileOf("s/f"), fileOf("d/f"))
		_, err = s.ApplyDiff("child", "base", driver.ApplyOptions{Diff: bytes.NewReader(content), IgnoreChownErrors: true})
		must(t, err)
		s.getsFile(t, "child", "b", "content 1")
		s.getsFile(t, "child", "d/f", "content 5")
		noLeftovers(t, s)
	})
}
