//go:build linux

package aufs

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestArchiveScan(t *testing.T) {
	none, whiteouts, xattrs := foreign{}, foreign{whiteouts: true}, foreign{xattrs: true}
	for text, want := range map[string]foreign{
		"": none, "wh": none, ".wh": none, "..wh.": whiteouts, ".w.wh.x": whiteouts, ".wh..wh..opq": whiteouts, "SCHILY.xattr": none,
		"SCHISCHILY.xattr.user.x": xattrs, strings.Repeat("x", 1000) + ".wh": none, strings.Repeat("x.", 1000) + "wh.": whiteouts,
		"SCHILY.xattr.user.wh.wh.": {whiteouts: true, xattrs: true},
	} {
		readers := map[string]io.Reader{"whole": strings.NewReader(text), "halves": iotest.HalfReader(strings.NewReader(text)), "bytes": iotest.OneByteReader(strings.NewReader(text))}
		for name, r := range readers {
			scan := &archiveScan{Reader: r}
			got, err := io.ReadAll(scan)
			must(t, err)
			if string(got) != text || scan.foreign != want {
				t.Errorf("%s of %q: it has %+v", name, text, scan.foreign)
			}
		}
	}
	// Wherever the border is.
	for needle, want := range map[string]foreign{string(whiteoutNeedle): whiteouts, string(xattrNeedle): xattrs} {
		for at := range needle {
			scan := &archiveScan{}
			scan.look(append([]byte("front "), needle[:at]...))
			scan.look(append(append([]byte(nil), needle[at:]...), " end"...))
			if scan.foreign != want {
				t.Errorf("%q cut at %d was not seen", needle, at)
			}
		}
	}
}
