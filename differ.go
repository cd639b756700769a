//go:build linux

package aufs

import (
	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// ApplyDiffWithDiffer has differ fill a staging directory, which is the Target of its output. That is to be given to
// ApplyDiffFromStagingDirectory or to CleanupStagingDirectory of this driver; its Cleanup removes it as well, and after a crash
// the next Init. After an error it is gone.
func (d *Driver) ApplyDiffWithDiffer(options *graphdriver.ApplyDiffWithDifferOpts, differ graphdriver.Differ) (graphdriver.DriverWithDifferOutput, error) {
	if options == nil {
		options = &graphdriver.ApplyDiffWithDifferOpts{}
	}
	differOptions := &graphdriver.DifferOptions{
		Format:      graphdriver.DifferOutputFormatDir,
		UseFsVerity: graphdriver.DifferFsVerityDisabled,
	}
	mappings := storagelib.Mappings(options.Mappings)
	unpack := d.core.UnpackOptions(driver.ApplyOptions{Mappings: mappings, IgnoreChownErrors: options.IgnoreChownErrors, ForceMask: options.ForceMask})
	var output graphdriver.DriverWithDifferOutput
	target, err := d.core.Stage(mappings, func(target, scratch string) (err error) {
		setStagingDirectory(differOptions, scratch)
		output, err = differ.ApplyDiff(target, storagelib.TarOptions(unpack), differOptions)
		return err
	})
	if err == nil {
		output.Target = target
	}
	return output, ofLibrary(err)
}

// ApplyDiffFromStagingDirectory makes the staging directory that is output's Target the content of the layer, which has to be
// empty and not mounted, on top of parent, which has to be its parent. The Target has to be one of this driver. The layer has
// all of it or nothing, and when it returns all is on the disk. If the layer is not as it has to be, the staging directory
// stays, for another one; after other errors it is gone.
func (d *Driver) ApplyDiffFromStagingDirectory(id, parent string, output *graphdriver.DriverWithDifferOutput, _ *graphdriver.ApplyDiffWithDifferOpts) error {
	return ofLibrary(d.core.ApplyStaged(id, parent, output.Target, output.RootDirMode != nil))
}

// CleanupStagingDirectory removes a staging directory with all that is in it. One that is gone, or has become that of a layer,
// is no error; what another driver is at work on is one, and so is what is no staging directory.
func (d *Driver) CleanupStagingDirectory(target string) error {
	return ofLibrary(d.core.CleanupStagingDirectory(target))
}

// DifferTarget returns the directory that the layer's files are in. It is not to be changed, and has whiteouts.
func (d *Driver) DifferTarget(id string) (string, error) {
	dir, err := d.core.DifferTarget(id)
	return dir, ofLibrary(err)
}
