//go:build linux

package layertar_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/layertar"
)

// endless is an archive that is made of what part returns for 0, 1 and so on, until part returns nil.
type endless struct {
	part func(i int) []byte
	i    int
	rest []byte
	// sample is called every 16 MB or so.
	sample func()
	since  int
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		e.rest = e.part(e.i)
		e.i++
		if e.rest == nil {
			return 0, io.EOF
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	if e.since += n; e.since > 16<<20 {
		e.since = 0
		e.sample()
	}
	return n, nil
}

// headerOf returns an archive with one header, without the blocks at the end.
func headerOf(t *testing.T, h *tar.Header) []byte {
	t.Helper()
	content := headersOf(t, h)
	return content[:len(content)-1024]
}

// keepAsTheLibraryDoes reads an archive and keeps what archive.Unpack keeps, but makes no files.
func keepAsTheLibraryDoes(r io.Reader) (dirs []*tar.Header, err error) {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dirs, nil
		}
		if err != nil {
			return dirs, err
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
	}
}

// repeatedRecord returns the header of a directory with a megabyte of records that are all the same.
func repeatedRecord(t *testing.T) []byte {
	t.Helper()
	const record = "6 a=b\n"
	for size := 1000_000; ; size++ {
		content := headerOf(t, &tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, PAXRecords: map[string]string{"X.c": strings.Repeat("v", size)}})
		records := content[512 : 512+len("1000000 X.c=")+size+1]
		if len(records)%len(record) == 0 {
			copy(records, strings.Repeat(record, len(records)/len(record)))
			return content
		}
	}
}

// testedKept takes the place of layertar.MostKept in tests, because a race detector takes minutes for so many headers.
const testedKept = layertar.MostKept / 16

// TestMemoryOfAnArchive measures the memory for archives that make the library keep much.
func TestMemoryOfAnArchive(t *testing.T) {
	always := func(h *tar.Header) func(int) []byte {
		content := headerOf(t, h)
		return func(int) []byte { return content }
	}
	dir := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
	withLink, withRecord, withRecords := dir("d/"), dir("d/"), dir("d/")
	withLink.Linkname, withLink.Format = strings.Repeat("l", 1000_000), tar.FormatGNU
	withRecord.PAXRecords = map[string]string{"X.c": strings.Repeat("v", 1000_000)}
	withRecords.PAXRecords = map[string]string{}
	for i := range 40_000 {
		withRecords.PAXRecords[fmt.Sprintf("SCHILY.xattr.%d", i)] = "v"
	}
	repeated := repeatedRecord(t)
	numbered := func(format string, typeflag byte, n int) func(i int) []byte {
		return func(i int) []byte {
			if i >= n {
				return nil
			}
			return headerOf(t, &tar.Header{Typeflag: typeflag, Name: fmt.Sprintf(format, i), Mode: 0o755})
		}
	}
	deep := strings.Repeat("d/", 100)
	for what, c := range map[string]struct {
		part    func(i int) []byte
		want    error
		unclear bool
	}{
		"long link names":           {part: always(withLink), want: layertar.ErrTooMuchKept},
		"one directory":             {part: always(dir("d/")), want: layertar.ErrTooMuchKept},
		"many directories":          {part: numbered("%08d/", tar.TypeDir, 1<<30), want: layertar.ErrTooMuchKept},
		"long records":              {part: always(withRecord), want: layertar.ErrTooMuchKept},
		"many records":              {part: always(withRecords), want: layertar.ErrTooMuchKept},
		"one record many times":     {part: func(int) []byte { return repeated }, want: layertar.ErrTooMuchKept},
		"only extension headers":    {part: func(int) []byte { return repeated[:len(repeated)-512] }, want: layertar.ErrLongHeader},
		"many names":                {part: numbered("%08d/"+deep+"f", tar.TypeReg, 11_000), unclear: true},
		"many whiteout directories": {part: numbered(strings.Repeat("n", 600)+"%08d/.wh.x", tar.TypeReg, 27_000), unclear: true},
	} {
		t.Run(what, func(t *testing.T) {
			before, peak := heap(), uint64(0)
			scan := layertar.NewScan(&endless{part: c.part, sample: func() { peak = max(peak, heap()) }})
			scan.MayKeep = testedKept
			dirs, err := keepAsTheLibraryDoes(scan)
			peak = max(peak, heap())
			runtime.KeepAlive(dirs)
			contents := scan.Contents()
			if !errors.Is(err, c.want) {
				t.Errorf("%v is no %v", err, c.want)
			}
			if contents.Unclear != c.unclear && c.want == nil {
				t.Errorf("unclear: %v", contents.Unclear)
			}
			others := uint64(24 << 20) // the buffers
			if !errors.Is(c.want, layertar.ErrTooMuchKept) {
				others = 96 << 20 // the maps of names, or one header
			}
			if keeps := peak - min(peak, before); keeps > testedKept+others {
				t.Errorf("%d MB are in memory, %d directories and %d names among them", keeps>>20, len(dirs), len(contents.Names.States))
			} else {
				t.Logf("%d MB are in memory, %d directories", keeps>>20, len(dirs))
			}
		})
	}
}

// heap returns how many bytes of memory are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestRealArchivesAreBelowTheLimit checks that an archive may have as many directories as real ones have.
func TestRealArchivesAreBelowTheLimit(t *testing.T) {
	const directories = 380_000 * testedKept / layertar.MostKept
	name := strings.Repeat("n", 20) + "/"
	content := headerOf(t, &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
	scan := layertar.NewScan(&endless{sample: func() {}, part: func(i int) []byte {
		if i >= directories {
			return nil
		}
		return content
	}})
	scan.MayKeep = testedKept
	dirs, err := keepAsTheLibraryDoes(scan)
	scan.Contents()
	if err != nil || len(dirs) != directories {
		t.Errorf("%d directories, %v", len(dirs), err)
	}
}
