package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/moving"
)

// layerRecord is what the library records of a layer, as far as a move needs it.
type layerRecord struct {
	ID     string          `json:"id"`
	UIDMap []idtools.IDMap `json:"uidmap"`
	GIDMap []idtools.IDMap `json:"gidmap"`
	Flags  struct {
		Incomplete bool `json:"incomplete"`
	} `json:"flags"`
}

// containerRecord is what the library records of a container, as far as a move needs it.
type containerRecord struct {
	Layer  string          `json:"layer"`
	UIDMap []idtools.IDMap `json:"uidmap"`
	GIDMap []idtools.IDMap `json:"gidmap"`
}

// readRecords reads the library's records of one kind. They are in two files, one of which is for what need not outlive a boot.
func readRecords[T any](dir, kind string) (records []T, err error) {
	for _, prefix := range []string{"", "volatile-"} {
		path := filepath.Join(dir, prefix+kind+".json")
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(content) == 0 {
			continue
		}
		var list []T
		if err == nil {
			err = json.Unmarshal(content, &list)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		records = append(records, list...)
	}
	return records, nil
}

// isEmptyOf reports whether the directory has no records of that kind.
func isEmptyOf(dir, kind string) (bool, error) {
	records, err := readRecords[json.RawMessage](dir, kind)
	return len(records) == 0, err
}

// readLayers reads the library's records of layers.
func readLayers(layersDir, containersDir string) (layers []moving.Layer, err error) {
	records, err := readRecords[layerRecord](layersDir, "layers")
	if err != nil {
		return nil, err
	}
	containers, err := readRecords[containerRecord](containersDir, "containers")
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if r.Flags.Incomplete {
			return nil, fmt.Errorf("the record of layer %s says that it is incomplete: open the store with a program once, which removes the layer", r.ID)
		}
		l := moving.Layer{ID: r.ID, Mapped: len(r.UIDMap)+len(r.GIDMap) > 0}
		n := slices.IndexFunc(containers, func(c containerRecord) bool { return c.Layer == r.ID })
		if n >= 0 && len(containers[n].UIDMap)+len(containers[n].GIDMap) > 0 {
			l.Maps = &idmap.Mappings{UIDs: mapsOf(containers[n].UIDMap), GIDs: mapsOf(containers[n].GIDMap)}
		}
		layers = append(layers, l)
	}
	return layers, nil
}

func mapsOf(list []idtools.IDMap) (maps []idmap.Map) {
	for _, m := range list {
		maps = append(maps, idmap.Map(m))
	}
	return maps
}
