//go:build linux

package layertar_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"golang.org/x/sys/unix"
)

// scanWhole reads r through a layertar.Scan, and returns the contents that the Scan finds.
func scanWhole(t *testing.T, r io.Reader, want []byte) *layertar.Contents {
	t.Helper()
	scan := layertar.NewScan(r)
	got, err := io.ReadAll(scan)
	if must(t, err); !bytes.Equal(got, want) {
		t.Errorf("%d bytes went in, and %d others came out", len(want), len(got))
	}
	return scan.Contents()
}

func TestArchiveScan(t *testing.T) {
	long := strings.Repeat("long/", 60) + "name"
	file := func(name string, size int64) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}
	}
	for name, c := range map[string]struct {
		headers         []*tar.Header
		size            int64
		unclear, xattrs bool
		marked          []string
	}{
		"nothing":                   {},
		"files":                     {headers: []*tar.Header{file("a", 3), file("b/c", 1000), file("./d", 70000), file("e", 512)}, size: 71515},
		"a symbolic link":           {headers: []*tar.Header{{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "target"}}, size: 6},
		"a hard link":               {headers: []*tar.Header{file("a", 3), {Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}}, size: 3},
		"devices":                   {headers: []*tar.Header{{Typeflag: tar.TypeFifo, Name: "a"}, {Typeflag: tar.TypeChar, Name: "b", Devmajor: 1, Devminor: 3}, {Typeflag: tar.TypeBlock, Name: "c"}}},
		"overlayfs's whiteout":      {headers: []*tar.Header{{Typeflag: tar.TypeChar, Name: "a"}}, unclear: true},
		"directories twice":         {headers: []*tar.Header{{Typeflag: tar.TypeDir, Name: "."}, {Typeflag: tar.TypeDir, Name: "a/"}, {Typeflag: tar.TypeDir, Name: "./a"}, file("a/b", 1)}, size: 1},
		"long names":                {headers: []*tar.Header{file(long, 5), {Typeflag: tar.TypeReg, Name: long + "2", Size: 6, Format: tar.FormatGNU}}, size: 11},
		"an attribute":              {headers: []*tar.Header{{Typeflag: tar.TypeReg, Name: "a", Size: 1, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}}, xattrs: true, size: 1},
		"another record":            {headers: []*tar.Header{{Typeflag: tar.TypeReg, Name: "a", Size: 1, PAXRecords: map[string]string{"VENDOR.xattr.user.a": "b"}}}, size: 1},
		"whiteouts":                 {headers: []*tar.Header{file("a/.wh.b", 7), file("a/.wh..wh..opq", 0), file("a/c", 1), file(".wh.d", 0)}, marked: []string{".", "a"}, size: 1},
		"no whiteout":               {headers: []*tar.Header{file("wh.a", 1), file("b.wh", 2), file("a.wh.b", 4)}, size: 7},
		"a whiteout above a file":   {headers: []*tar.Header{file("a", 1), file(".wh.a/b", 2)}, size: 1, unclear: true},
		"a whiteout as a directory": {headers: []*tar.Header{{Typeflag: tar.TypeDir, Name: ".wh.a"}}, unclear: true},
		"a name of a whiteout":      {headers: []*tar.Header{file(".wh.a", 3), {Typeflag: tar.TypeLink, Name: "b", Linkname: ".wh.a"}}, marked: []string{"."}, unclear: true},
		"a whiteout twice":          {headers: []*tar.Header{file(".wh.a", 0), file(".wh.a", 0)}, marked: []string{"."}, unclear: true},
		"a name twice":              {headers: []*tar.Header{file("a", 1), file("./a", 2)}, size: 3, unclear: true},
		"a file for a directory":    {headers: []*tar.Header{file("a/b", 1), file("a", 2)}, size: 3, unclear: true},
		"a directory for a file":    {headers: []*tar.Header{file("a", 2), {Typeflag: tar.TypeDir, Name: "a/"}}, size: 2, unclear: true},
		"through a symbolic link":   {headers: []*tar.Header{{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "b"}, file("a/b/c", 1)}, size: 2, unclear: true},
		"a file as the root":        {headers: []*tar.Header{file("..", 0)}, unclear: true},
		"out and in again":          {headers: []*tar.Header{file("../a", 1), file("/a", 1)}, size: 2, unclear: true},
	} {
		content := headersOf(t, c.headers...)
		for how, r := range map[string]io.Reader{
			"whole": bytes.NewReader(content), "halves": iotest.HalfReader(bytes.NewReader(content)),
			"bytes": iotest.OneByteReader(bytes.NewReader(content)), "the end with it": iotest.DataErrReader(bytes.NewReader(content)),
		} {
			got := scanWhole(t, r, content)
			if got.Unclear != c.unclear || got.Xattrs != c.xattrs || got.Size != c.size || !slices.Equal(got.MarkedDirs(), c.marked) {
				t.Errorf("%s, %s: size %d, unclear %v, attributes %v, whiteouts in %q", name, how, got.Size, got.Unclear, got.Xattrs, got.MarkedDirs())
			}
		}
	}
}

// TestArchiveScanRoot scans archives that have content for the root directory.
func TestArchiveScanRoot(t *testing.T) {
	for _, name := range []string{".", "..", "a/.."} {
		content := headersOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 5}, &tar.Header{Typeflag: tar.TypeReg, Name: "a"})
		scan := layertar.NewScan(bytes.NewReader(content))
		if _, err := io.ReadAll(scan); !errors.Is(err, layertar.ErrRootHasContent) {
			t.Errorf("%s: %v", name, err)
		}
		scan.Contents()
	}
}

// TestArchiveScanHalf scans what is not an archive, or only a part of one: there may be anything in it.
func TestArchiveScanHalf(t *testing.T) {
	whole := headersOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 2000, Mode: 0o644}, &tar.Header{Typeflag: tar.TypeDir, Name: "b/"})
	for name, content := range map[string][]byte{
		"other bytes": bytes.Repeat([]byte("x"), 2000), "half a header": whole[:100], "half a file": whole[:1500], "half of the next header": whole[:3000],
	} {
		if got := scanWhole(t, bytes.NewReader(content), content); !got.Unclear || !got.Xattrs {
			t.Errorf("%s: unclear %v, attributes %v", name, got.Unclear, got.Xattrs)
		}
	}
	// The library accepts an archive without the blocks at its end.
	if got := scanWhole(t, bytes.NewReader(whole[:512+2048]), whole[:512+2048]); got.Size != 2000 || got.Unclear {
		t.Errorf("without an end: size %d, unclear %v", got.Size, got.Unclear)
	}
	failure := errors.New("failure")
	scan := layertar.NewScan(iotest.ErrReader(failure))
	if _, err := io.ReadAll(scan); !errors.Is(err, failure) {
		t.Errorf("the error became %v", err)
	}
	if got := layertar.NewScan(bytes.NewReader(whole)).Contents(); got.Size != 0 || got.Unclear {
		t.Errorf("of what nobody has read: size %d, unclear %v", got.Size, got.Unclear)
	}
}

// TestArchiveScanLongNames scans names that the library refuses. Looking at all parent directories of such a name would
// take minutes.
func TestArchiveScanLongNames(t *testing.T) {
	long := headersOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("a/", 400000) + "f", Mode: 0o644})
	if got := scanWhole(t, bytes.NewReader(long), long); !got.Unclear || len(got.Names.States) > 0 {
		t.Errorf("unclear %v, %d names", got.Unclear, len(got.Names.States))
	}
	longest := headersOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("a/", 2047) + "f", Size: 1, Mode: 0o644})
	if got := scanWhole(t, bytes.NewReader(longest), longest); got.Unclear || len(got.Names.States) != 2048 {
		t.Errorf("unclear %v, %d names", got.Unclear, len(got.Names.States))
	}
}

// TestArchiveScanCuts scans entries that may destroy what was before them. No reader may get the header of such an
// entry before it is told of the cut.
func TestArchiveScanCuts(t *testing.T) {
	for seed := range uint64(300) {
		content := storetest.AnyArchive(t, rand.New(rand.NewPCG(seed, 3)))
		for how, r := range map[string]io.Reader{
			"whole": bytes.NewReader(content), "halves": iotest.HalfReader(bytes.NewReader(content)), "bytes": iotest.OneByteReader(bytes.NewReader(content)),
		} {
			scan := layertar.NewScan(r)
			scan.Watched = true
			var got []byte
			cuts := 0
			for b := make([]byte, 700); ; {
				n, err := scan.Read(b)
				got = append(got, b[:n]...)
				if errors.Is(err, layertar.ErrCut) {
					cuts++
					if int64(len(got)) != scan.Cut.At || n > 0 {
						t.Errorf("seed %d, %s: it is told at %d that there is a cut at %d", seed, how, len(got), scan.Cut.At)
					}
					// All entries before the cut can be read now, and the next one cannot.
					before, _ := headersIn(got)
					if after, name := headersIn(content[:len(got)+1]); after != before+1 || name != scan.Cut.Name {
						t.Errorf("seed %d, %s: before %s are %d entries, and after it %d, the last one %s", seed, how, scan.Cut.Name, before, after, name)
					}
					continue
				}
				if err != nil {
					break
				}
			}
			scan.Contents()
			if !bytes.Equal(got, content) {
				t.Errorf("seed %d, %s: %d bytes went in, and %d others came out", seed, how, len(content), len(got))
			}
		}
	}
}

// headersIn counts the complete headers in a part of an archive, and returns the last name.
func headersIn(content []byte) (n int, name string) {
	for r := tar.NewReader(bytes.NewReader(content)); ; n++ {
		h, err := r.Next()
		if err != nil {
			return n, name
		}
		name = path.Clean("/" + h.Name)[1:]
	}
}

// TestImpliedNames checks which directories an archive only implies.
func TestImpliedNames(t *testing.T) {
	file := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name} }
	dir := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/"} }
	for name, c := range map[string]struct {
		headers []*tar.Header
		implied []string
	}{
		"none":                         {headers: []*tar.Header{dir("a"), dir("a/b"), file("a/b/c")}},
		"all":                          {headers: []*tar.Header{file("./a/b/c")}, implied: []string{"/a", "/a/b"}},
		"in one with an entry":         {headers: []*tar.Header{dir("a"), file("a/b/c")}, implied: []string{"/a/b"}},
		"the entry comes later":        {headers: []*tar.Header{file("a/b/c"), dir("a")}, implied: []string{"/a/b"}},
		"replaced, and there again":    {headers: []*tar.Header{dir("a"), dir("a/b"), file("a"), dir("a"), file("a/b/c")}, implied: []string{"/a/b"}},
		"replaced, and with an entry":  {headers: []*tar.Header{file("a/b/c"), file("a"), dir("a"), dir("a/b")}},
		"by a whiteout":                {headers: []*tar.Header{file("a/.wh.b")}, implied: []string{"/a"}},
		"a whiteout is a directory":    {headers: []*tar.Header{dir("b/.wh.c"), file("a/b")}, implied: []string{"/a", "/b"}},
		"through a link, not known":    {headers: []*tar.Header{{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "d"}, dir("l/a"), file("a/b")}},
		"a name too long, not known":   {headers: []*tar.Header{file("a/b"), file("a/" + strings.Repeat("x", unix.PathMax))}},
		"a link, but no name below it": {headers: []*tar.Header{file("a/b"), {Typeflag: tar.TypeSymlink, Name: "l", Linkname: "a"}}, implied: []string{"/a"}},
	} {
		content := headersOf(t, c.headers...)
		got, implied := scanWhole(t, bytes.NewReader(content), content), []string(nil)
		for _, path := range []string{"/a", "/a/b", "/b", "/l", "/l/a"} {
			if got.Names.Implied(path) {
				implied = append(implied, path)
			}
		}
		if !slices.Equal(implied, c.implied) || len(c.implied) > 0 && !got.Names.Implies {
			t.Errorf("%s: %q, not %q; any: %v", name, implied, c.implied, got.Names.Implies)
		}
	}
}
