//! Thumbnails of a folder of pictures: each picture is a part, and the join combines them into one contact sheet.
//!
//! `album run album folder=Pictures` writes `Pictures/thumbnails/sheet.png` and prints one row per picture. A file
//! that cannot be decoded gets a row with the error; the other pictures are processed all the same.

use std::path::{Path, PathBuf};

use image::{GenericImage as _, ImageReader, RgbaImage};
use ork::{Error, Outcome, Parts, Result, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const FOLDER: &str = "thumbnails";
const COLUMNS: u32 = 8;

/// A picture and its thumbnail.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Picture {
    file: PathBuf,
    width: u32,
    height: u32,
    thumbnail: PathBuf,
}

/// Makes one thumbnail.
#[task(timeout = "1m")]
fn album(picture: PathBuf, size: u32) -> Result<Picture> {
    // Permanent, because another attempt would read the same bytes.
    let image = ImageReader::open(&picture)?.with_guessed_format()?.decode().map_err(Error::permanent)?;
    let name = picture.file_name().ok_or("a picture has a name")?;
    let folder = picture.with_file_name(FOLDER);
    std::fs::create_dir_all(&folder)?;
    let mut thumbnail = folder.join(name).into_os_string();
    thumbnail.push(".png");
    image.thumbnail(size, size).save(&thumbnail)?;
    Ok(Picture { width: image.width(), height: image.height(), thumbnail: thumbnail.into(), file: picture })
}

/// Makes thumbnails of the pictures in a folder, and a contact sheet of them.
#[task(part)]
fn album_part(
    /// The folder with the pictures.
    folder: PathBuf,
    /// The longer side of a thumbnail, in pixels; 128 by default.
    size: Option<u32>,
) -> Result<impl Iterator<Item = album>> {
    let folder = std::path::absolute(folder)?;
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut pictures: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_picture(path)).collect();
    pictures.sort();
    let size = size.unwrap_or(128).clamp(8, 1_024);
    Ok(pictures.into_iter().map(move |picture| album { picture, size }))
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The description of one picture of the sheet.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Row {
    picture: String,
    size: String,
}

/// The contact sheet.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Sheet {
    pictures: Vec<Row>,
    sheet: Option<PathBuf>,
}

/// Combines the thumbnails into one sheet, in the order of their names.
#[task(join)]
fn album_join(parts: Parts<Picture>) -> Result<Sheet> {
    let (mut sheet, mut thumbnails) = (Sheet::default(), Vec::new());
    for outcome in parts.outcomes() {
        let (picture, size) = match outcome? {
            Outcome::Ok { output: Picture { file, width, height, thumbnail }, .. } => {
                thumbnails.push(thumbnail);
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name, format!("{width} x {height}"))
            }
            Outcome::Failed { index, failure } => (format!("picture {index}"), failure.to_string()),
            other => return Err(Error::permanent(format!("unexpected: {other:?}"))),
        };
        sheet.pictures.push(Row { picture, size });
    }
    sheet.sheet = glue(&thumbnails)?;
    Ok(sheet)
}

fn glue(thumbnails: &[PathBuf]) -> Result<Option<PathBuf>> {
    let Some(folder) = thumbnails.first().and_then(|first| first.parent()) else {
        return Ok(None);
    };
    let images = thumbnails.iter().map(image::open).collect::<Result<Vec<_>, _>>()?;
    let side = images.iter().map(|image| image.width().max(image.height())).max().unwrap_or(1);
    let count = u32::try_from(images.len())?;
    let mut glued = RgbaImage::new(side * count.min(COLUMNS), side * count.div_ceil(COLUMNS));
    for (place, image) in (0..count).zip(&images) {
        glued.copy_from(&image.to_rgba8(), place % COLUMNS * side, place / COLUMNS * side)?;
    }
    let path = folder.join("sheet.png");
    glued.save(&path)?;
    Ok(Some(path))
}

fn main() -> std::process::ExitCode {
    ork::main()
}
