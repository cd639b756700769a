// Package differential compares a graph driver with a plain directory.
//
// A [Script] says which operations make a stack of layers, one layer on top of
// the other. [Draw] makes up scripts, [Parse] reads those that were kept.
// [Run] carries a script out twice, in the mounts of the driver's layers and
// in a directory beside them, the model, and wants of each layer that
//
//   - its mount shows what the model has, at once and after a remount;
//   - its Diff, applied to another layer on the same parent, makes that layer
//     show the same;
//   - its Changes are what makes the model as it is of what it was before;
//   - the driver's other backend, where there is one, sees the same, and so
//     does the driver when it opens the store anew.
//
// [Mix] has the two backends take turns at the mounts, has the store converted in
// between, and has layers be on read-only mounts while others are made on top of
// them.
//
// Time is the number of an operation: what an operation touches gets that as
// its time of modification, in seconds, in both places, so that times can be
// compared as well.
package differential
