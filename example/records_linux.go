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
	Parent string          `json:"parent"`
	UIDMap []idtools.IDMap `json:"uidmap"`
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

// readLayers reads the library's records of layers, and returns each layer after its parent.
func readLayers(layersDir, containersDir string) (sorted []moving.Layer, err error) {
	records, err := readRecords[layerRecord](layersDir, "layers")
	if err != nil {
		return nil, err
	}
	containers, err := readRecords[containerRecord](containersDir, "containers")
	if err != nil {
		return nil, err
	}
	done := map[string]bool{"": true}
	for len(records) > 0 {
		rest := slices.DeleteFunc(slices.Clone(records), func(r layerRecord) bool {
			if !done[r.Parent] {
				return false
			}
			done[r.ID] = true
			l := moving.Layer{ID: r.ID, Parent: r.Parent}
			// If mounts cannot shift owners, the layer has the maps of its container, and files with owners of these maps.
			n := slices.IndexFunc(containers, func(c containerRecord) bool { return c.Layer == r.ID })
			if n >= 0 && len(containers[n].UIDMap) > 0 && len(r.UIDMap) == 0 {
				l.Maps = &idmap.Mappings{UIDs: mapsOf(containers[n].UIDMap), GIDs: mapsOf(containers[n].GIDMap)}
			}
			sorted = append(sorted, l)
			return true
		})
		if len(rest) == len(records) {
			return nil, fmt.Errorf("the library's record of layer %s names the parent %s, which has no record", rest[0].ID, rest[0].Parent)
		}
		records = rest
	}
	return sorted, nil
}

func mapsOf(list []idtools.IDMap) (maps []idmap.Map) {
	for _, m := range list {
		maps = append(maps, idmap.Map(m))
	}
	return maps
}
