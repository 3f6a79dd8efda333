"""VOC's XML files, in whatever folders they and their images lie."""

from __future__ import annotations

from emsyolo.dataset.form.reading import Annotated, Reading, Settings
from emsyolo.dataset.form.tree import Tree
from emsyolo.dataset.voc import OTHER, read_xml


def read(tree: Tree, settings: Settings) -> Reading:
    """What the XML files say, each of the image of its name, else of that in `<filename>`.

    Boxes count from 1 and include both ends, see `emsyolo.dataset.voc`. An XML file without an object is background;
    an image without XML is left to other forms.

    Raises:
        ValueError: several images fit a file as well.
    """
    reading = Reading("voc", settings)
    for xml in tree.ending(".xml"):
        try:
            found = read_xml(xml, settings.encoding)
        except ValueError as error:
            if not str(error).startswith(OTHER):
                reading.of_images.leave_out(str(xml), str(error))
            continue
        image = tree.find(xml.stem, xml, also=found.file_name) or tree.find(found.file_name, xml)
        if image is None:
            reading.lacks(xml, found.file_name or xml.stem)
            continue
        for reason in found.odd:
            reading.ledger.leave_out(str(xml), reason)
        reading.add(Annotated(image, xml, tuple(found.objects), found.size_hw, tree.splits(xml, image)))
    return reading
