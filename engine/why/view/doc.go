// Package view shows what is kept of builds: as a page of HTML with the data in it, as a graph
// for Graphviz or as a picture, and as a trace for Perfetto.
//
// What steps are named, told and have written comes from strangers. In the page it is JSON in an
// element that is not a script, with no "<" in it; the page's own script makes text of it, and
// never markup. Its policy allows that one script and that one style sheet, by their digests,
// and no request at all.
package view
