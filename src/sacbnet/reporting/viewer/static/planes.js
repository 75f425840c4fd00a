// What a plane of the viewer shows, pixel by pixel: two images, outlines, grid and expected error.
// NiiVue draws the plane with this shader in place of its own. Names that it sets: volume, overlay,
// axCorSag, opacity, mvpMtx, frac2mm, slice. All others are ours.

const FIRST_UNIT = 12; // NiiVue uses these texture units for drawing tools only, which are off

const SHADER = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume;
uniform highp sampler3D overlay;
uniform highp usampler3D labelsA;
uniform highp usampler3D labelsB;
uniform highp sampler3D bend;
uniform highp sampler3D error;
uniform int axCorSag;
uniform float opacity;
uniform bool two;
uniform bool checkered;
uniform bool outlined;
uniform bool bent;
uniform float share;
uniform float tile;
uniform float apart;
uniform float veil;
uniform float end;
uniform float pixels;
uniform vec3 extent;
uniform vec3 ramp[6];
uniform vec3 colourA;
uniform vec3 colourB;
uniform vec3 colourBoth;
uniform vec3 colourGrid;
in vec3 texPos;
out vec4 color;

// the two coordinates that run across and up the plane
vec2 within(vec3 v) {
  return axCorSag == 0 ? v.xy : axCorSag == 1 ? v.xz : v.yz;
}

vec3 inRamp(float x) {
  float at = clamp(x, 0.0, 1.0) * 5.0;
  int n = min(int(at), 4);
  return mix(ramp[n], ramp[n + 1], at - float(n));
}

// whether another label lies within half the width of a line
bool border(highp usampler3D labels, vec3 across, vec3 up) {
  uint here = texture(labels, texPos).r;
  return here != texture(labels, texPos + across).r || here != texture(labels, texPos - across).r
    || here != texture(labels, texPos + up).r || here != texture(labels, texPos - up).r;
}

void main() {
  vec3 grey = texture(volume, texPos).rgb;
  vec3 mm = (texPos - 0.5) * extent;
  if (two) {
    float part = share;
    if (checkered) {
      vec2 square = floor(within(mm) / tile);
      part = mod(square.x + square.y, 2.0);
    }
    grey = mix(grey, texture(overlay, texPos).rgb, part);
  }
  if (veil > 0.0) grey = mix(grey, inRamp(texture(error, texPos).r / end), veil);
  if (bent) {
    vec2 carried = within(mm + texture(bend, texPos).rgb);
    vec2 off = abs(fract(carried / apart + 0.5) - 0.5) * apart;
    vec2 line = 1.0 - smoothstep(0.5, 1.0, off / (fwidth(carried) * pixels));
    grey = mix(grey, colourGrid, 0.85 * max(line.x, line.y));
  }
  if (outlined) {
    vec3 across = dFdx(texPos) * 0.75 * pixels;
    vec3 up = dFdy(texPos) * 0.75 * pixels;
    bool a = border(labelsA, across, up);
    bool b = border(labelsB, across, up);
    if (a || b) grey = a && b ? colourBoth : a ? colourA : colourB;
  }
  color = vec4(grey, opacity);
}`;

// The textures of one picture, and the uniforms of its shader.
export class Planes {
  constructor(nv, extent, colours) {
    this.nv = nv;
    this.gl = nv.gl;
    nv.setCustomSliceShader(SHADER);
    const ours = ["labelsA", "labelsB", "bend", "error"];
    ours.forEach((name, n) => this.number(name, FIRST_UNIT + n, true));
    const { gl } = this;
    this.texture(0, [1, 1, 1], gl.R16UI, gl.RED_INTEGER, gl.UNSIGNED_SHORT, new Uint16Array(1));
    this.texture(1, [1, 1, 1], gl.R16UI, gl.RED_INTEGER, gl.UNSIGNED_SHORT, new Uint16Array(1));
    this.texture(2, [1, 1, 1], gl.RGB16F, gl.RGB, gl.HALF_FLOAT, new Uint16Array(3));
    this.texture(3, [1, 1, 1], gl.R16F, gl.RED, gl.HALF_FLOAT, new Uint16Array(1));
    this.vector("extent", extent);
    const unit = (colour) => colour.map((x) => x / 255);
    this.vector("ramp", colours.ramp.flatMap(unit));
    this.vector("colourA", unit(colours.first));
    this.vector("colourB", unit(colours.second));
    this.vector("colourBoth", unit(colours.both));
    this.vector("colourGrid", unit(colours.grid));
    for (const name of ["tile", "apart", "end", "pixels"]) this.number(name, 1);
  }

  place(name) {
    const { program } = this.nv.customSliceShader;
    this.gl.useProgram(program);
    return this.gl.getUniformLocation(program, name);
  }

  number(name, value, whole = false) {
    const place = this.place(name);
    if (whole || typeof value === "boolean") this.gl.uniform1i(place, Number(value));
    else this.gl.uniform1f(place, value);
  }

  vector(name, values) {
    this.gl.uniform3fv(this.place(name), values);
  }

  texture(n, [x, y, z], inside, format, type, data) {
    const { gl } = this;
    const texture = gl.createTexture();
    const before = gl.getParameter(gl.UNPACK_ALIGNMENT);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.activeTexture(gl.TEXTURE0 + FIRST_UNIT + n);
    gl.bindTexture(gl.TEXTURE_3D, texture);
    const filter = format === gl.RED_INTEGER ? gl.NEAREST : gl.LINEAR;
    gl.texParameteri(gl.TEXTURE_3D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_3D, gl.TEXTURE_MAG_FILTER, filter);
    for (const side of [gl.TEXTURE_WRAP_R, gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
      gl.texParameteri(gl.TEXTURE_3D, side, gl.CLAMP_TO_EDGE);
    }
    gl.texImage3D(gl.TEXTURE_3D, 0, inside, x, y, z, 0, format, type, data);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, before);
  }

  labels(n, shape, data) {
    const { gl } = this;
    this.texture(n, shape, gl.R16UI, gl.RED_INTEGER, gl.UNSIGNED_SHORT, new Uint16Array(data));
  }

  bend(shape, data) {
    const { gl } = this;
    this.texture(2, shape, gl.RGB16F, gl.RGB, gl.HALF_FLOAT, new Uint16Array(data));
  }

  error(shape, data) {
    const { gl } = this;
    this.texture(3, shape, gl.R16F, gl.RED, gl.HALF_FLOAT, new Uint16Array(data));
  }
}
