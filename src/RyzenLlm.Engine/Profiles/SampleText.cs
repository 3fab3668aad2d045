namespace RyzenLlm.Engine.Profiles;

/// <summary>
/// The text on which models are compared: written for this program, a little of each kind that a local model meets (a story, a talk, an
/// instruction, a report, a letter, code, data).
/// </summary>
public static class SampleText
{
    /// <summary>The text.</summary>
    public const string Text =
        """
        The ferry left late because the harbour was full of ice. Marta stood at the rail with both hands around a cup of tea and watched
        the lamps on the quay grow small. She had packed in ten minutes: two shirts, the letters, and the key to a house she had never
        seen. "You will know it by the green door," her uncle had written. "If the key does not turn, knock. Somebody always hears."

        "Is this seat taken?" asked the boy.
        "No. Sit down before the wind takes it."
        "I am going to see my grandmother. She has a dog that can open the oven."
        "Then she must have very good bread," said Marta, and they both laughed.

        How to mend a flat tyre: turn the bicycle over, loosen the nuts of the wheel and lift it out. Press the tyre off the rim on one
        side and pull out the tube. Pump it up a little and hold it under water; where bubbles rise, there is the hole. Dry the place,
        roughen it with sandpaper, spread a thin layer of glue, wait five minutes, and press the patch on hard. Before you put the tube
        back, feel along the inside of the tyre with your fingers: what made the hole may still be there.

        The council met on Tuesday to discuss the new bus line. Of the 42 residents who spoke, 31 were in favour. The line would run every
        20 minutes from the station to the hospital and cost about 1.3 million a year. Opponents fear that the narrow street by the
        school will become dangerous. A decision is expected in March, after the traffic has been counted for two weeks.

        Dear Mr Okafor, thank you for your order of 14 May. We are sorry that one of the lamps arrived broken. A new one was sent today and
        should reach you by Friday. You need not send the old one back. Please let us know if anything else is missing.

        Why does the moon seem to change its shape? Half of it is always lit by the sun, but from the earth we see that half from
        different sides in the course of a month. When the moon stands between us and the sun, its dark side faces us.

        def mean(values):
            if not values:
                raise ValueError("no values")
            total = 0.0
            for value in values:
                total += value
            return total / len(values)

        {"city": "Lisbon", "days": [{"date": "2024-06-01", "high": 27, "rain": false}, {"date": "2024-06-02", "high": 24, "rain": true}]}

        In the evening the house was warm. Somebody had lit the stove, and on the table stood a plate with a cloth over it. The green door
        had opened before she could try the key.
        """;
}
