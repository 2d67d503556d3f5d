-- Shapes a checked report for the format at hand: numbers, cross-references, figure files, mathematics, long code.
-- It reads figures from the working directory; labkit/report/check.py has found them good.

local format = FORMAT:match 'html' and 'html' or FORMAT
local BEST = {typst = {'svg', 'pdf'}, html = {'svg'}, latex = {'pdf'}, docx = {}}  -- else the file that was named
local MIME = {svg = 'image/svg+xml', png = 'image/png', jpg = 'image/jpeg', jpeg = 'image/jpeg'}
local TEXT_WIDTH, TALLEST = 6.3, 1.1  -- inches; greatest height of a figure as a share of the text's width
local BREAK = {typst = '#sym.zws;', latex = '\\joint{}', html = '<wbr>'}
local raw, stringify = pandoc.RawBlock, pandoc.utils.stringify
local name_of, count = {}, {Figure = 0, Table = 0}

local function read(path)
  local file = io.open(path, 'rb')
  local content = file and file:read 'a'
  if file then file:close() end
  return content
end

local function quoted(text) return '"' .. text:gsub('[\\"]', '\\%0'):gsub('\n', ' ') .. '"' end

local function label(what, n)  -- of a caption; typst and LaTeX count by themselves
  if format == 'html' then return pandoc.Strong(what .. '\u{a0}' .. n .. ': ') end
  if format ~= 'docx' then return pandoc.Str '' end
  local run = '<w:r><w:rPr><w:b /></w:rPr><w:t xml:space="preserve">%s</w:t></w:r>'
  local field = '<w:fldSimple w:instr=" SEQ %s \\* ARABIC ">%s</w:fldSimple>'
  local counted = field:format(what, run:format(n))
  return pandoc.RawInline('openxml', run:format(what .. '\u{a0}') .. counted .. run:format ': ')
end

local function number(element)
  if #element.caption.long == 0 then return end
  local what = element.tag
  count[what] = count[what] + 1
  if element.identifier == '' then element.identifier = what:lower() .. '-' .. count[what] end
  name_of[element.identifier] = what .. '\u{a0}' .. count[what]
  element.attr = pandoc.Attr(element.identifier)
  element.caption.long[1].content:insert(1, label(what, count[what]))
  return element
end

local function best_file(source)
  for _, suffix in ipairs(BEST[format]) do
    local better = source:gsub('%w+$', suffix)
    if read(better) then return better end
  end
  return source
end

local function percent(image)  -- of the text's width; the natural size unless asked, and never as tall as a page
  local whole, size = pcall(pandoc.image.size, read(image.src))
  if not whole then error('The figure ' .. image.src .. ' is no image that can be read: save it again.', 0) end
  local asked = tonumber((image.attributes.width or ''):match '^(%d+)%%$')
  local natural = 100 * size.width / (size.dpi_horz or 96) / TEXT_WIDTH
  return math.floor(math.min(asked or natural, 100, 100 * TALLEST * size.width / size.height))
end

local function figure(element)
  local image = element.content[1].content[1]
  local width, path = percent(image), best_file(image.src)
  if format == 'typst' then  -- pandoc would drop the alternative text
    local open = '#figure(image(%s, alt: %s, width: %d%%), caption: ['
    return {
      raw('typst', open:format(quoted(path), quoted(stringify(image.caption)), width)),
      pandoc.Plain(element.caption.long[1].content),
      raw('typst', (']) <%s>'):format(element.identifier)),
    }
  end
  local mime = MIME[path:match '%w+$':lower()]
  if format == 'docx' then pandoc.mediabag.insert(path, mime, read(path)) end
  if format == 'html' then path = pandoc.mediabag.make_data_uri(mime, read(path)) end
  image.src, image.attr = path, pandoc.Attr('', {}, {width = width .. '%'})
  return element
end

local function link(element)
  element.attr = pandoc.Attr()
  if #element.content == 0 then element.content = {pandoc.Str(name_of[element.target:sub(2)])} end
  return element
end

local function math(element)  -- a formula is spoken as the TeX it was written in
  if format ~= 'typst' then return end
  local set = pandoc.write(pandoc.Pandoc {pandoc.Plain {element}}, 'typst'):gsub('%s+$', '')
  set = set:gsub('%.circle', '.o'):gsub('planck%.reduce', 'planck')  -- names that typst has changed since
  local block = element.mathtype == 'DisplayMath'
  return pandoc.RawInline('typst', ('#math.equation(alt: %s, block: %s, %s)'):format(quoted(element.text), block, set))
end

local function in_pieces(text, make)  -- long names and paths may break where they have joints
  if utf8.len(text) < 12 or not BREAK[format] then return {make(text)} end
  local pieces = pandoc.Inlines {}
  for piece in text:gsub('[/_=]+%f[%w]', '%0\0'):gmatch '[^\0]+' do
    if #pieces > 0 then pieces:insert(pandoc.RawInline(format, BREAK[format])) end
    pieces:insert(make(piece))
  end
  return pieces
end

local function in_latin_modern(code)  -- which has no raised digits, arrows or Cyrillic
  local letter = utf8.char(code)
  if code >= 0x2070 and code <= 0x208B then
    local plain = utf8.char(({[10] = 0x2B, [11] = 0x2212})[code % 16] or 0x30 + code % 16)
    return code < 0x2080 and pandoc.Superscript(plain) or pandoc.Subscript(plain)
  end
  local symbol = code >= 0x370 and code < 0x400 or code >= 0x2032 and code < 0x2038 or code >= 0x2100 and code < 0x2600
  local other = code >= 0x400 and code < 0x1E00 or code >= 0x2600 and code < 0x2E80
  local font = symbol and '\\symbols' or other and '\\others'
  return font and pandoc.RawInline('latex', '{' .. font .. ' ' .. letter .. '}') or pandoc.Str(letter)
end

local function code(element) return in_pieces(element.text, pandoc.Code) end

local function text(element)
  if format ~= 'latex' or not element.text:find '[\xCD-\xE2]' then return in_pieces(element.text, pandoc.Str) end
  local pieces = pandoc.Inlines {}
  for _, code in utf8.codes(element.text) do pieces:insert(in_latin_modern(code)) end
  return pieces
end

local function plain_header(element)
  local unnumbered = element.classes:includes 'unnumbered' and {'unnumbered'} or {}
  element.attr = pandoc.Attr(element.identifier, unnumbered)
  return element
end

local function plain_code_block(element) return pandoc.CodeBlock(element.text) end

local function title_block(meta)
  local is = pandoc.utils.type
  if meta.author and is(meta.author) ~= 'List' then meta.author = pandoc.MetaList {meta.author} end
  if is(meta.abstract) == 'Inlines' then meta.abstract = pandoc.MetaBlocks {pandoc.Para(meta.abstract)} end
  local line = pandoc.Inlines {}
  for _, key in ipairs {'course', 'number', 'date'} do
    if meta[key] then line:extend(#line > 0 and {pandoc.Str ' · '} or {}) line:insert(pandoc.Span(meta[key])) end
  end
  meta.line = #line > 0 and pandoc.MetaInlines(line) or nil
  meta.names = pandoc.List(meta.author or {}):map(function(name)
    return pandoc.MetaInlines {pandoc.RawInline('typst', quoted(stringify(name)))}
  end)
  return meta
end

return {
  {Figure = number, Table = number},
  {Figure = figure, Link = link, Math = math, Header = plain_header, CodeBlock = plain_code_block},
  {Code = code, Str = text},
  {Meta = title_block},
}
