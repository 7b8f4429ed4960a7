// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Windows} from "../../src/interfaces/IParams.sol";
import {ExecuteTest} from "./Execute.t.sol";

/// @notice The same by the times of a development chain, where a vote takes less than a minute.
contract DevelopmentTest is ExecuteTest {
    constructor() {
        (VOTING_DELAY, VOTING, WAIT) = (5, 30, 10);
    }

    function windows() internal pure override returns (Windows memory) {
        return Windows({
            epoch: 30,
            propose: 60,
            window: 10,
            redrawBlocks: 16,
            slashGap: 60,
            unbonding: 120,
            withdrawDelayMin: 10,
            withdrawDelayMax: 1 hours,
            withdrawPeriod: 7 days
        });
    }
}
